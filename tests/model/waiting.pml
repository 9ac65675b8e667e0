/* The waiting protocol of a pool with one slot, as in detail/slot_table.hpp and detail/pool_core.hpp, on a machine whose
 * processors keep a store back until it suits them (as x86 does: at the latest until their next locked instruction).
 *
 * USERS callers acquire and release CYCLES times each. Checked: nobody shares the slot, and nobody waits for ever (an end
 * state in which not all are done is an error). Options that break it, to see that the model would notice:
 *   NO_FENCE      whoever demands attention does not make the others' stores visible
 *   NO_RESCAN     whoever demands attention does not look at the slot again
 *   LATE_RESET    a poked waiter forgets its poke after it has looked, not before
 *   NO_PASSING    a poked waiter that gives up keeps its poke to itself
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
bool kept_back[USERS];     /* a user's store of IDLE that is not in memory yet */
bool attention = false;
byte lock = NOBODY;
byte users = 0;            /* of the slot, for the assertion */
byte done = 0;

/* The queue, first in first out. */
byte queue[USERS];
byte queued = 0;
byte poked = NOBODY;       /* who was poked and has not come yet */
bool woken[USERS];
bool granted[USERS];

inline drain(u) { if :: kept_back[u] -> kept_back[u] = false; cell = IDLE :: else fi }

/* A locked instruction: what this processor kept back is in memory before it. */
inline take_lock(u) { atomic { lock == NOBODY -> drain(u); lock = u } }
inline leave_lock() { lock = NOBODY }

inline try_take(u, got) {
    d_step { drain(u); if :: cell == IDLE -> cell = LEASED; got = true :: else -> got = false fi }
}

inline fence() {
#ifndef NO_FENCE
    d_step { for (f : 0 .. USERS - 1) { drain(f) } ; f = 0 }
#endif
}

inline unqueue(u) {
    d_step {
        at = 0;
        do :: at < queued && queue[at] != u -> at++ :: else -> break od;
        if :: at < queued ->
            do :: at + 1 < queued -> queue[at] = queue[at + 1]; at++ :: else -> break od;
            queued--
        :: else fi;
        if :: poked == u -> poked = NOBODY :: else fi;
        at = 0
    }
}

/* With the lock: somebody waits and the slot may be free. Whether the first is young or old is left open. */
inline serve(u) {
    if :: queued > 0 && cell == IDLE ->
        if
        :: poked == NOBODY -> atomic { poked = queue[0]; woken[queue[0]] = true }          /* young: poke */
        :: poked != NOBODY                                                                 /* young, and poked already */
        :: try_take(u, claimed);                                                           /* old: hand over */
           if :: claimed -> heir = queue[0]; unqueue(heir); atomic { granted[heir] = true; woken[heir] = true }
              :: else fi
        fi
    :: else fi
}

/* With the lock, when nobody waits: the table may be calm again. */
inline calm_down() { if :: queued == 0 -> attention = false :: true fi }

proctype user(byte u) {
    byte cycle = 0, f = 0, at = 0, heir = 0;
    bool got = false, claimed = false;
    do
    :: cycle < CYCLES ->
        got = false;
        /* take(): the table is calm, the slot idle */
        if :: !attention -> try_take(u, got) :: else fi;
        if :: !got ->
            take_lock(u);
            /* acquire(): a newcomer may be quicker than a young waiter; with an old one it may not */
            if :: true -> try_take(u, got) :: queued > 0 fi;
            if :: !got ->
                attention = true;
                fence();
#ifndef NO_RESCAN
                if :: queued == 0 -> try_take(u, got) :: else fi;
#endif
                if :: !got ->
                    d_step { granted[u] = false; woken[u] = false; queue[queued] = u; queued++ }
                    leave_lock();
                    do
                    :: atomic { woken[u] -> skip };
                        take_lock(u);
                        if :: granted[u] -> got = true; leave_lock(); break :: else fi;
#ifndef LATE_RESET
                        woken[u] = false;
#endif
                        if :: poked == u -> poked = NOBODY :: else fi;
                        try_take(u, got);
                        if :: got -> unqueue(u) :: else fi;
                        serve(u);
#ifdef LATE_RESET
                        woken[u] = false;
#endif
                        if :: got || granted[u] -> got = true; leave_lock(); break :: else leave_lock() fi
                    /* its time is over: it gives up, once there is something to give up for */
                    :: atomic { !granted[u] && lock == NOBODY && cycle + 1 == CYCLES && u == 0 -> drain(u); lock = u };
                        if
                        :: granted[u] -> got = true
                        :: else ->
#ifdef NO_PASSING
                            if :: poked == u -> unqueue(u); poked = u :: else unqueue(u) fi
#else
                            unqueue(u);
                            serve(u)
#endif
                        fi;
                        calm_down();
                        leave_lock();
                        break
                    od
                :: else leave_lock()
                fi
            :: else calm_down(); leave_lock()
            fi
        :: else fi;
        if :: got ->
            users++;
            assert(users == 1);
            users--;
            /* give(): a store that may be kept back, then a look whether anybody wants to hear of it */
            kept_back[u] = true;
            if
            :: attention ->
                take_lock(u);
                serve(u);
                calm_down();
                leave_lock()
            :: else
            fi
        :: else fi;
        cycle++
    :: else -> break
    od;
    atomic { drain(u); done++ }
}

/* Stores reach memory whenever they like. */
active proctype memory() {
    byte u = 0;
end:
    do
    :: atomic { kept_back[0] -> drain(0) }
    :: atomic { kept_back[1] -> drain(1) }
#if USERS > 2
    :: atomic { kept_back[2] -> drain(2) }
#endif
    od
}

init {
    byte i;
    atomic { for (i : 0 .. USERS - 1) { run user(i) } }
    (done == USERS);
}
