/* The commands of `slat`: each gets its own name as argv[0] and returns the exit status (0 fine, 1 the answer is no,
 * 2 wrong usage or a file that cannot be read). */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

int slat_check_main(int argc, char **argv);
int slat_run_main(int argc, char **argv);
int slat_info_main(int argc, char **argv);

#endif
