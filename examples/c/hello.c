/* A FastCGI program in C: says what it was asked, and how long the body was. */
#include <fcgiapp.h>
#include <stddef.h>

/* The parameter, or nothing: hosts leave out what is empty. */
static const char *parameter(const char *name, FCGX_ParamArray environment)
{
    const char *value = FCGX_GetParam(name, environment);
    return value == NULL ? "" : value;
}

static size_t read_body(FCGX_Stream *in)
{
    char buffer[16384];
    size_t length = 0;
    int taken;

    while ((taken = FCGX_GetStr(buffer, sizeof buffer, in)) > 0)
        length += (size_t)taken;
    return length;
}

int main(void)
{
    FCGX_Stream *in, *out, *err;
    FCGX_ParamArray environment;

    /* Stockade passes the listening socket as descriptor 0, where the library expects it */
    while (FCGX_Accept(&in, &out, &err, &environment) >= 0) {
        size_t length = read_body(in);

        FCGX_FPrintF(out, "Content-Type: text/plain\r\n\r\n");
        FCGX_FPrintF(out, "%s %s\n", parameter("REQUEST_METHOD", environment), parameter("REQUEST_URI", environment));
        FCGX_FPrintF(out, "The body has %d bytes.\n", (int)length);
        if (length > 100000)
            FCGX_FPrintF(err, "a body of %d bytes\n", (int)length);
    }
    return 0;
}
