/* A producer of a pool that is reset while it is being leased and released, as in src/pools/pooled_producer.cpp, on a
 * machine whose processors have store buffers.
 *
 * The holder leases the producer and a connection, uses them, and gives both back, CYCLES times while the producer's
 * slot is of the present generation. The other process resets the producers' pool: it begins a generation, and then
 * interrupts what the producer holds. Checked: a connection is interrupted only while the producer holds it, and no
 * lease of an earlier generation that has begun when the reset is done was missed. Options that break the protocol:
 *   NO_FENCE      the reset does not make the store of `held` visible
 *   NO_WAIT       the end of a lease does not wait for an interrupt in progress
 *   NO_LOOK       a lease that begins does not look at the generation again
 */
#ifndef CYCLES
#define CYCLES 2
#endif

byte generation = 0;
bool held = false;              /* what is in memory */
bool is_buffered = false;       /* the holder's store buffer holds a store of `held` */
bool buffered = false;          /* its value */
bool interrupting = false;
bool owned = false;             /* the holder leases the connection */
bool interrupted = false;       /* the connection */
bool lease_begun = false;       /* and not ended */
bool reset_done = false;

inline store_held(value) { d_step { if :: is_buffered -> held = buffered :: else fi; is_buffered = true; buffered = value } }
inline drain() { d_step { if :: is_buffered -> held = buffered; is_buffered = false :: else fi } }
inline fence() {
#ifndef NO_FENCE
    drain()
#else
    skip
#endif
}

active proctype processor() {   /* a store reaches memory at any time */
end:
    do
    :: is_buffered -> drain()
    od
}

active proctype holder() {
    byte cycle = 0;
    do
    /* the compare-and-swaps */
    :: atomic { cycle < CYCLES && generation == 0 -> drain(); owned = true; interrupted = false };
        store_held(true);
        if
#ifndef NO_LOOK
        :: generation != 0 -> skip              /* given up */
#endif
        :: else ->
            lease_begun = true;
            /* the user's calls; a reset that is done has interrupted them */
            atomic { if :: reset_done -> assert(interrupted) :: else fi };
            lease_begun = false
        fi;
        store_held(false);
#ifndef NO_WAIT
        if :: interrupting -> !interrupting :: else fi;
#endif
        owned = false;
        cycle++
    :: else -> break
    od
}

active proctype resetter() {
    generation = 1;                             /* with a fence, as any generation */
    drain();
    interrupting = true;
    fence();
    if
    :: held -> interrupted = true; assert(owned)
    :: else
    fi;
    interrupting = false;
    reset_done = true
}
