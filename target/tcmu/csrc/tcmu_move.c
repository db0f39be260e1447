/* How a TCMU device moves from one reactor to another.
 *
 * It goes as a message, which hands over all that it has, and only while no command of it is
 * under way: tasks belong to the reactor on which they began. It is sent out by its home, the
 * reactor that it was given, and comes back there before it goes elsewhere. So the home knows
 * where it is, and whoever wants something of it asks there. */
#include <stdlib.h>

#include "tcmu.h"

enum {
    PATIENCE_MS = 10, /* that a move waits for what is under way */
    REST_MS = 10000,  /* after one that waited in vain */
};

/* What the control thread wants of a device. */
struct order {
    s2n_tcmu *tcmu;
    struct s2n_reactor *reactor; /* where the device was sent, when the order followed it */
    void (*run)(s2n_tcmu *tcmu, uint64_t argument);
    uint64_t argument;
};

/* ---- moves ---- */

static void arrive_abroad(void *argument)
{
    s2n_tcmu *tcmu = argument;

    tcmu->reactor = tcmu->move.away;
    atomic_store(&tcmu->move.visited, tcmu->reactor);
    s2n_tcmu_serve(tcmu);
}

static void arrive_home(void *argument)
{
    s2n_tcmu *tcmu = argument;

    tcmu->move.away = NULL;
    tcmu->reactor = tcmu->move.home;
    s2n_tcmu_serve(tcmu);
}

void s2n_tcmu_stay(s2n_tcmu *tcmu)
{
    if (tcmu->move.leaving)
        s2n_timer_cancel(tcmu->reactor, &tcmu->move.patience);
    tcmu->move.leaving = false;
}

void s2n_tcmu_depart(s2n_tcmu *tcmu)
{
    struct s2n_move *move = &tcmu->move;

    s2n_tcmu_stay(tcmu);
    s2n_flow_close(&tcmu->flow);
    atomic_fetch_add(&move->count, 1);
    s2n_source_remove(tcmu->reactor, &tcmu->source);
    /* From the message on it is the other reactor's. */
    if (tcmu->reactor != move->home) {
        atomic_store(&move->visited, NULL);
        s2n_reactor_call(move->home, arrive_home, tcmu);
        return;
    }
    move->away = s2n_plane_reactor(s2n_reactor_plane(tcmu->reactor), move->target);
    s2n_reactor_call(move->away, arrive_abroad, tcmu);
}

/* What is under way takes too long for the others to wait for it. */
static void lose_patience(struct s2n_timer *timer)
{
    struct s2n_move *move =
        (struct s2n_move *)((char *)timer - offsetof(struct s2n_move, patience));
    s2n_tcmu *tcmu = (s2n_tcmu *)((char *)move - offsetof(s2n_tcmu, move));

    move->leaving = false;
    move->rests_until_ms = s2n_reactor_now_ms(tcmu->reactor) + REST_MS;
    s2n_tcmu_take(tcmu);
}

void s2n_tcmu_consider(s2n_tcmu *tcmu, bool lone)
{
    struct s2n_move *move = &tcmu->move;
    uint64_t now_us = s2n_reactor_now_us(tcmu->reactor);
    uint64_t now_ms = s2n_reactor_now_ms(tcmu->reactor);

    move->target = s2n_seat_choose(&move->seat, lone, now_us);
    if (move->target == s2n_reactor_index(tcmu->reactor) || tcmu->draining || tcmu->ended ||
        now_ms < move->rests_until_ms)
        return;
    move->leaving = true;
    s2n_timer_arm(tcmu->reactor, &move->patience, PATIENCE_MS);
}

uint32_t s2n_tcmu_whereabouts(const s2n_tcmu *tcmu)
{
    const struct s2n_reactor *visited = atomic_load(&tcmu->move.visited);

    return s2n_reactor_index(visited ? visited : tcmu->move.home);
}

void s2n_tcmu_settle(s2n_tcmu *tcmu, s2n_plane *plane)
{
    struct s2n_move *move = &tcmu->move;

    uint32_t reactors = s2n_plane_all_hot(plane, tcmu->nexus) ? s2n_plane_reactors(plane) : 1;
    move->home = s2n_plane_pick(plane, tcmu->nexus);
    move->patience.expire = lose_patience;
    s2n_seat_begin(&move->seat, s2n_reactor_index(move->home), reactors);
    s2n_reactor_call(move->home, arrive_home, tcmu);
}

/* ---- orders ---- */

static void seek(void *argument);

static void carry_out(struct order *order)
{
    s2n_tcmu *tcmu = order->tcmu;
    struct order own = *order;

    free(order);
    atomic_fetch_sub(&tcmu->move.orders, 1);
    own.run(tcmu, own.argument);
}

static void follow(void *argument)
{
    struct order *order = argument;
    struct s2n_move *move = &order->tcmu->move;

    if (atomic_load(&move->visited) == order->reactor)
        carry_out(order);
    else
        s2n_reactor_call(move->home, seek, order); /* behind the device, which has left for there */
}

/* At its home. */
static void seek(void *argument)
{
    struct order *order = argument;

    order->reactor = order->tcmu->move.away;
    if (order->reactor)
        s2n_reactor_call(order->reactor, follow, order);
    else
        carry_out(order);
}

void s2n_tcmu_order(s2n_tcmu *tcmu, void (*run)(s2n_tcmu *tcmu, uint64_t argument),
                    uint64_t argument)
{
    struct order *order = malloc(sizeof *order);

    if (!order)
        abort(); /* whoever waits for its outcome would wait for good */
    *order = (struct order){tcmu, NULL, run, argument};
    atomic_fetch_add(&tcmu->move.orders, 1);
    s2n_reactor_call(tcmu->move.home, seek, order);
}
