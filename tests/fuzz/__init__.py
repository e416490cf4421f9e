"""Serenity and Mesos in one process, simulated, and what hypothesis makes happen to them.

Framework, drivers, executors, and `localmesos`' master and agents are the real code; threads,
network, clock, disks and the tasks' processes are not (`doors.py` has the whole list).  A
schedule (`steps.py`) says what happens: jobs and kills, crashes at any point, calls that are
lost or late, streams cut after any byte, agents and slack that come and go, leaps of the
clock.  `truth.py` says what must hold all the while, and once all is quiet.

A counterexample is a schedule, as small as hypothesis could make it, with its story: every
call, event, commit and process in the order in which they came.  It becomes an entry of
`test_found.py`.  `breakages.py` breaks promises on purpose: the search must notice.

The ordinary suite runs a few schedules, always the same; `make fuzz` runs 10,000 others.
"""
