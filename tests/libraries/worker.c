/* libfcgi: answers as the query string says; see tests/libraries.rs. Ends after REQUESTS requests. */
#include <fcgiapp.h>
#include <stdlib.h>
#include <string.h>

static char buffer[100000];

int main(void)
{
    FCGX_Stream *in, *out, *err;
    FCGX_ParamArray environment;
    const char *requests = getenv("REQUESTS");
    int left = requests == NULL ? -1 : atoi(requests);

    while (left-- != 0 && FCGX_Accept(&in, &out, &err, &environment) >= 0) {
        const char *query = FCGX_GetParam("QUERY_STRING", environment);
        int taken;

        FCGX_FPrintF(out, "Content-Type: text/plain\r\n\r\n");
        if (strcmp(query, "early") == 0) {
            FCGX_FPrintF(out, "early");
        } else if (strcmp(query, "big") == 0) {
            memset(buffer, 'b', sizeof buffer);
            for (int piece = 0; piece < 100; piece++)
                FCGX_PutStr(buffer, sizeof buffer, out);
        } else if (strcmp(query, "echo") == 0) {
            while ((taken = FCGX_GetStr(buffer, sizeof buffer, in)) > 0)
                FCGX_PutStr(buffer, taken, out);
        } else {
            if (strcmp(query, "stderr") == 0)
                FCGX_FPrintF(err, "trouble\n");
            FCGX_FPrintF(out, "hello %s", FCGX_GetParam("REQUEST_METHOD", environment));
        }
    }
    FCGX_Finish();
    return 0;
}
