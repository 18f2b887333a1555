<?php
$name = $_POST['name'] ?? $_GET['name'] ?? 'world';
$name = htmlspecialchars($name, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
header('Content-Type: text/html; charset=utf-8');
?>
<!DOCTYPE html>
<title>PHP behind Stockade</title>
<h1>Hello, <?= $name ?>!</h1>
<form method="post">
  <label>Your name: <input name="name"></label>
  <button>Greet</button>
</form>
<p>Worker <?= htmlspecialchars(getenv('STOCKADE_WORKER') ?: '?') ?>, process <?= getmypid() ?>.</p>
