/* A waiter that does not run: an operation on an event loop that is busy with something else. A pool with two slots, as
 * in detail/pool_core.hpp; all steps are under the lock, so each is atomic here (waiting.pml has the steps without it).
 *
 * The waiter queues while both slots are leased. It is handed the first slot that is released, and does not use it
 * before all others are done. THREADS callers acquire and release CYCLES times each. They are notified within their
 * barging windows, and respond late. Checked: none of them waits for ever, a caller that may not wait is refused only
 * when no slot is idle, and each slot has one user at a time. Options that break the protocol:
 *   NOTIFY_ALL    the waiter that does not run is notified as the others are
 *   NO_SERVING    a newcomer that may not overtake does not have the slots handed out to the waiters
 */
#ifndef THREADS
#define THREADS 3
#endif
#ifndef CYCLES
#define CYCLES 2
#endif
#define SLOTS 2
#define UNRESPONSIVE THREADS            /* the number of the waiter that does not run */
#define NOBODY (THREADS + 1)
#ifdef NOTIFY_ALL
#define IS_OVERTAKEN(u) (!window_passed)
#else
#define IS_OVERTAKEN(u) (!window_passed && (u) != UNRESPONSIVE)
#endif

byte idle = 0;                  /* slots that are idle; two are leased at first, by nobody of these */
byte queue[THREADS + 1];
byte queued = 0;
byte notified = NOBODY;
bool granted[THREADS + 1];
bool window_passed = false;     /* the barging windows of all waiters */
byte done = 0;
byte users = SLOTS;

inline remove_first() {
    at = 0;
    do :: at + 1 < queued -> queue[at] = queue[at + 1]; at++ :: else -> break od;
    queued--;
    at = 0
}

/* Hands idle slots to the waiters that may not be overtaken; notifies the first one otherwise. */
inline serve() {
    do
    :: queued > 0 && idle > 0 && !IS_OVERTAKEN(queue[0]) ->
        next = queue[0];
        if :: notified == next -> notified = NOBODY :: else fi;
        remove_first();
        idle--; users++;
        granted[next] = true
    :: queued > 0 && idle > 0 && IS_OVERTAKEN(queue[0]) ->
        if :: notified == NOBODY -> notified = queue[0] :: else fi;
        break
    :: else -> break
    od
}

/* After a release: when no waiter was notified before, nothing else is idle, and one hand-over is enough. */
inline serve_released() {
    if
    :: notified == NOBODY && queued > 0 && !IS_OVERTAKEN(queue[0]) ->
        next = queue[0];
        remove_first();
        idle--; users++;
        granted[next] = true
    :: else -> serve()
    fi
}

proctype caller(byte u) {
    byte cycle = 0, at = 0, next = 0;
    bool got = false, may_wait = false;
    do
    :: cycle < CYCLES ->
        if :: may_wait = true :: may_wait = false fi;
        atomic {
            /* acquire() */
            got = false;
#ifndef NO_SERVING
            if :: notified != NOBODY && window_passed -> serve() :: else fi;
#endif
            if
            :: idle > 0 && (queued == 0 || IS_OVERTAKEN(queue[0])) -> idle--; users++; got = true
            :: else ->
                if
                :: may_wait -> granted[u] = false; queue[queued] = u; queued++
                :: else -> assert(idle == 0)     /* refused beside an idle slot */
                fi
            fi
        }
        if
        :: !got && may_wait ->
            /* notified, it tries itself, and then serves the next; or it is handed a slot */
            do
            :: atomic { granted[u] -> granted[u] = false; break }
            :: atomic { notified == u ->
                    notified = NOBODY;
                    if
                    :: idle > 0 ->
                        idle--; users++;
                        at = 0;
                        do :: queue[at] != u -> at++ :: else -> break od;
                        do :: at + 1 < queued -> queue[at] = queue[at + 1]; at++ :: else -> break od;
                        queued--; at = 0;
                        serve();
                        break
                    :: else -> serve()
                    fi
               }
            od;
            got = true
        :: else
        fi;
        if
        :: got -> atomic { assert(users <= SLOTS); users--; idle++; serve_released() }
        :: else
        fi;
        cycle++
    :: else -> break
    od;
    done++
}

/* The holders of both slots at first, who release them at any time. */
proctype holder() {
    byte at = 0, next = 0;
    atomic { users--; idle++; serve_released() }
}

proctype clock() { window_passed = true }

init {
    atomic {
        queue[0] = UNRESPONSIVE; queued = 1;
        byte i;
        for (i : 1 .. SLOTS) { run holder() }
        for (i : 0 .. THREADS - 1) { run caller(i) }
        run clock()
    }
    (done == THREADS)
}
