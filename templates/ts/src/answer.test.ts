import assert from 'node:assert/strict';
import test from 'node:test';

import { answer } from './answer.js';

test('the path is in the answer', async () => {
  const response = await answer(new Request('http://localhost/there'));
  assert.equal(response.status, 200);
  assert.equal(await response.text(), 'Hello from {{name}}. You asked for /there\n');
});
