/* The waiting protocol of a pool with one slot, as in detail/slot_table.hpp and detail/pool_core.hpp, on a machine
 * whose processors have store buffers (as x86 has: a locked instruction empties its processor's buffer).
 *
 * USERS callers acquire and release CYCLES times each. Checked: the slot has one user at a time, and no caller waits
 * for ever (an end state in which not all are done is an error). Options that break the protocol, to show that the
 * model detects it:
 *   NO_FENCE      a caller that disables the fast path does not make the stores of others visible
 *   NO_RESCAN     a caller that disables the fast path does not check the slot again
 *   LATE_RESET    a notified waiter clears its wake-up after it has tried to acquire, not before
 *   NO_PASSING    a notified waiter that gives up does not notify the next one
 */
#ifndef USERS
#define USERS 3
#endif
#ifndef CYCLES
#define CYCLES 2
#endif

#define IDLE 0
#define LEASED 1
#define NOBODY USERS

byte cell = IDLE;          /* what is in memory */
bool buffered[USERS];     /* the user's store buffer holds a store of IDLE */
bool slow_path = false;
byte lock = NOBODY;
byte users = 0;            /* of the slot, for the assertion */
byte done = 0;

/* The queue, first in first out. */
byte queue[USERS];
byte queued = 0;
byte notified = NOBODY;       /* the waiter that was notified and has not retried yet */
bool woken[USERS];
bool granted[USERS];

inline drain(u) { if :: buffered[u] -> buffered[u] = false; cell = IDLE :: else fi }

/* A locked instruction: this processor's store buffer is drained before it. */
inline acquire_lock(u) { atomic { lock == NOBODY -> drain(u); lock = u } }
inline release_lock() { lock = NOBODY }

inline try_acquire(u, got) {
    d_step { drain(u); if :: cell == IDLE -> cell = LEASED; got = true :: else -> got = false fi }
}

inline fence() {
#ifndef NO_FENCE
    d_step { for (f : 0 .. USERS - 1) { drain(f) } ; f = 0 }
#endif
}

inline remove_waiter(u) {
    d_step {
        at = 0;
        do :: at < queued && queue[at] != u -> at++ :: else -> break od;
        if :: at < queued ->
            do :: at + 1 < queued -> queue[at] = queue[at + 1]; at++ :: else -> break od;
            queued--
        :: else fi;
        if :: notified == u -> notified = NOBODY :: else fi;
        at = 0
    }
}

/* With the lock: notifies the first waiter, or hands it the slot. Whether its barging window has passed is open. */
inline serve(u) {
    if :: queued > 0 && cell == IDLE ->
        if
        :: notified == NOBODY -> atomic { notified = queue[0]; woken[queue[0]] = true }          /* in window: notify */
        :: notified != NOBODY                                                                 /* in window, notified */
        :: try_acquire(u, claimed);                                                           /* passed: hand over */
           if :: claimed -> next_lessee = queue[0]; remove_waiter(next_lessee); atomic { granted[next_lessee] = true; woken[next_lessee] = true }
              :: else fi
        fi
    :: else fi
}

/* With the lock, without waiters: the fast path may be enabled again. */
inline enable_fast_path() { if :: queued == 0 -> slow_path = false :: true fi }

proctype user(byte u) {
    byte cycle = 0, f = 0, at = 0, next_lessee = 0;
    bool got = false, claimed = false;
    do
    :: cycle < CYCLES ->
        got = false;
        /* try_acquire(): the fast path is enabled, the slot idle */
        if :: !slow_path -> try_acquire(u, got) :: else fi;
        if :: !got ->
            acquire_lock(u);
            /* acquire(): a newcomer may overtake the first waiter within its barging window, not after */
            if :: true -> try_acquire(u, got) :: queued > 0 fi;
            if :: !got ->
                slow_path = true;
                fence();
#ifndef NO_RESCAN
                if :: queued == 0 -> try_acquire(u, got) :: else fi;
#endif
                if :: !got ->
                    d_step { granted[u] = false; woken[u] = false; queue[queued] = u; queued++ }
                    release_lock();
                    do
                    :: atomic { woken[u] -> skip };
                        acquire_lock(u);
                        if :: granted[u] -> got = true; release_lock(); break :: else fi;
#ifndef LATE_RESET
                        woken[u] = false;
#endif
                        if :: notified == u -> notified = NOBODY :: else fi;
                        try_acquire(u, got);
                        if :: got -> remove_waiter(u) :: else fi;
                        serve(u);
#ifdef LATE_RESET
                        woken[u] = false;
#endif
                        if :: got || granted[u] -> got = true; release_lock(); break :: else release_lock() fi
                    /* the timeout of user 0 in its last cycle: it gives up */
                    :: atomic { !granted[u] && lock == NOBODY && cycle + 1 == CYCLES && u == 0 -> drain(u); lock = u };
                        if
                        :: granted[u] -> got = true
                        :: else ->
#ifdef NO_PASSING
                            if :: notified == u -> remove_waiter(u); notified = u :: else remove_waiter(u) fi
#else
                            remove_waiter(u);
                            serve(u)
#endif
                        fi;
                        enable_fast_path();
                        release_lock();
                        break
                    od
                :: else release_lock()
                fi
            :: else enable_fast_path(); release_lock()
            fi
        :: else fi;
        if :: got ->
            users++;
            assert(users == 1);
            users--;
            /* release(): a store that may be buffered, then a load that tells whether the fast path is enabled */
            buffered[u] = true;
            if
            :: slow_path ->
                acquire_lock(u);
                serve(u);
                enable_fast_path();
                release_lock()
            :: else
            fi
        :: else fi;
        cycle++
    :: else -> break
    od;
    atomic { drain(u); done++ }
}

/* Buffered stores reach memory at any time. */
active proctype memory() {
    byte u = 0;
end:
    do
    :: atomic { buffered[0] -> drain(0) }
    :: atomic { buffered[1] -> drain(1) }
#if USERS > 2
    :: atomic { buffered[2] -> drain(2) }
#endif
    od
}

init {
    byte i;
    atomic { for (i : 0 .. USERS - 1) { run user(i) } }
    (done == USERS);
}
