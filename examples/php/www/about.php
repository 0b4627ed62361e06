<?php
// What the interpreter says of itself, and what it was asked.

header('Content-Type: application/json');
echo json_encode([
    'version' => PHP_VERSION,
    'system' => PHP_OS,
    'interface' => PHP_SAPI,
    'extensions' => get_loaded_extensions(),
    'script' => $_SERVER['SCRIPT_NAME'],
    'query' => $_GET,
], JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES), "\n";
