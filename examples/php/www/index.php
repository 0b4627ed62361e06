<?php
// A page with what most PHP pages are made of: a form, a cookie, and a number in a file.

declare(strict_types=1);

const COUNTER = '/data/visits';

// Each visit appends a byte, and the size is the number: WASI preview 1 has no locks for a number that is read,
// changed and written back.
function count_visit(): int
{
    file_put_contents(COUNTER, '.', FILE_APPEND);
    clearstatcache();
    return filesize(COUNTER);
}

function shown(string $text): string
{
    return htmlspecialchars($text, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
}

$name = $_COOKIE['name'] ?? 'stranger';
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $name = trim((string) ($_POST['name'] ?? ''));
    if ($name === '') {
        http_response_code(400);
        header('Content-Type: text/plain; charset=utf-8');
        exit("A name is missing.\n");
    }
    setcookie('name', $name, ['httponly' => true, 'samesite' => 'Lax']);
}
$visits = count_visit();
header('Content-Type: text/html; charset=utf-8');
?>
<!doctype html>
<title>PHP</title>
<h1>Hello, <?= shown($name) ?>!</h1>
<p>This page was asked for <?= $visits ?> times.</p>
<form method="post">
  <input name="name" placeholder="Your name"> <button>Remember me</button>
</form>
<p><a href="about.php">About this PHP</a></p>
