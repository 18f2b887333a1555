#!/usr/bin/perl
# A FastCGI program on FCGI.pm: says what it was asked, and how long the body was.
use strict;
use warnings;
use FCGI;

# a program that leaks may end after so many requests, as gitweb does: no request is lost, and the next worker starts at once
my $left = $ENV{REQUESTS} || 1000;

my $request = FCGI::Request();
while ($left-- > 0 && $request->Accept() >= 0) {
    my $length = 0;
    while (my $taken = read STDIN, my $piece, 65536) {
        $length += $taken;
    }
    # FCGI.pm has put the request's parameters into the environment, and its streams in the place of the usual ones
    print "Content-Type: text/plain\r\n\r\n";
    print "$ENV{REQUEST_METHOD} $ENV{REQUEST_URI}\n";
    print "The body has $length bytes.\n";
    print STDERR "a body of $length bytes\n" if $length > 100_000;
}
$request->Finish();
