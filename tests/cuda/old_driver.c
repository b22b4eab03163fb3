/* A driver's library that has one function of those that the tools ask for. */
int cuInit(unsigned flags);

int cuInit(unsigned flags)
{
    (void)flags;
    return 0;
}
