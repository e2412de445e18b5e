/* Being told to stop: a signal only raises a flag, which the training loop reads between steps;
 * then it saves and ends with status 128 + signal. */
#pragma once

/* From now on SIGINT, SIGTERM and SIGHUP are noted instead of ending the program. A further SIGINT
 * does end it, at once. An ignored SIGHUP (nohup) stays ignored. */
void signals_catch(void);

/* The first signal that was noted, or 0. */
int signals_caught(void);
