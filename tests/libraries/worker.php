<?php
// php-cgi: answers as the query string says; see tests/libraries.rs.
header('Content-Type: text/plain');
switch ($_SERVER['QUERY_STRING'] ?? '') {
    case 'early':
        echo 'early';
        break;
    case 'big':
        for ($piece = 0; $piece < 100; $piece++) {
            echo str_repeat('b', 100000);
        }
        break;
    case 'echo':
        echo file_get_contents('php://input');
        break;
    case 'stderr':
        error_log('trouble');
        // and on
    default:
        echo "hello {$_SERVER['REQUEST_METHOD']}";
}
