import unittest

from answer import answer


class AnswerTest(unittest.TestCase):
    def test_the_path_is_in_the_answer(self) -> None:
        self.assertEqual(answer("/there?a=b"), "Hello from {{name}}. You asked for /there\n")


if __name__ == "__main__":
    unittest.main()
