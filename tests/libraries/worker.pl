# FCGI.pm: answers as the query string says; see tests/libraries.rs. Ends after REQUESTS requests.
use strict;
use warnings;
use FCGI;

my $left = $ENV{REQUESTS} // -1;
my $request = FCGI::Request();
while ($left-- != 0 && $request->Accept() >= 0) {
    my $query = $ENV{QUERY_STRING} // '';
    print "Content-Type: text/plain\r\n\r\n";
    if ($query eq 'early') {
        print 'early';
    } elsif ($query eq 'big') {
        print 'b' x 100_000 for 1 .. 100;
    } elsif ($query eq 'echo') {
        while (read STDIN, my $piece, 65536) {
            print $piece;
        }
    } else {
        print STDERR "trouble\n" if $query eq 'stderr';
        print "hello $ENV{REQUEST_METHOD}";
    }
}
$request->Finish();
