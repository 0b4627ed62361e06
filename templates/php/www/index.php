<?php
// Says what it was asked for.

declare(strict_types=1);

header('Content-Type: text/plain; charset=utf-8');
echo 'Hello from {{name}}. You asked for ', strtok($_SERVER['REQUEST_URI'], '?'), "\n";
