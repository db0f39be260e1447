/* COMPARE AND WRITE commands that want the same blocks have them in turn. */
#include <semaphore.h>
#include <stddef.h>

#include "check.h"
#include "claim.h"
#include "swaps.h"

/* ---- claims ---- */

enum { CLAIMS = 2 * S2N_MOST_WAITING };

static struct s2n_claims claims;
static struct s2n_claim claim[CLAIMS];
static struct s2n_claim *told[CLAIMS]; /* in this order */
static uint32_t told_count;
static const char party[3];

static void note(struct s2n_claim *which)
{
    told[told_count++] = which;
}

static void start_claims(void)
{
    claims = (struct s2n_claims){0};
    pthread_mutex_init(&claims.lock, NULL);
    told_count = 0;
}

static enum s2n_claim_state want(uint32_t which, unsigned whose, uint64_t first, uint64_t end)
{
    claim[which] =
        (struct s2n_claim){.blocks = {first, end}, .party = &party[whose], .ended_wait = note};
    return s2n_claim_alone(&claims, &claim[which]);
}

/* It is the next that was told, and holds its blocks. */
static void has_its_turn(uint32_t number, uint32_t which)
{
    CHECK(number < told_count && told[number] == &claim[which]);
    CHECK_EQUAL(claim[which].state, S2N_CLAIM_HELD);
}

static void parties_have_their_turns(void)
{
    start_claims();
    CHECK_EQUAL(want(0, 0, 10, 11), S2N_CLAIM_HELD);
    for (uint32_t i = 1; i < 5; i++)
        CHECK_EQUAL(want(i, 0, 10, 11), S2N_CLAIM_WAITS);
    CHECK_EQUAL(want(5, 1, 10, 11), S2N_CLAIM_WAITS);
    CHECK_EQUAL(want(6, 1, 10, 11), S2N_CLAIM_WAITS);
    CHECK_EQUAL(want(7, 2, 10, 11), S2N_CLAIM_WAITS);
    static const uint32_t order[] = {0, 1, 5, 7, 2, 6, 3, 8, 4};
    for (uint32_t i = 0; i + 1 < sizeof order / sizeof *order; i++) {
        s2n_claim_end(&claims, &claim[order[i]]);
        has_its_turn(i, order[i + 1]);
        CHECK_EQUAL(told_count, i + 1);
        if (order[i] == 7)
            CHECK_EQUAL(want(8, 2, 10, 11), S2N_CLAIM_WAITS); /* again, in its next turn */
    }
    s2n_claim_end(&claims, &claim[4]);
    CHECK(!claims.first && !claims.waiting && !claims.alone && !claims.waiting_count);
}

/* What wants several blocks is not overtaken for ever by what wants one of them. */
static void nobody_overtakes_with_the_same_blocks(void)
{
    start_claims();
    CHECK_EQUAL(want(0, 0, 10, 11), S2N_CLAIM_HELD);
    CHECK_EQUAL(want(1, 1, 10, 20), S2N_CLAIM_WAITS);
    CHECK_EQUAL(want(2, 2, 19, 20), S2N_CLAIM_WAITS);
    CHECK_EQUAL(want(3, 2, 20, 21), S2N_CLAIM_HELD);
    s2n_claim_end(&claims, &claim[3]);
    CHECK_EQUAL(told_count, 0);
    s2n_claim_end(&claims, &claim[0]);
    has_its_turn(0, 1);
    CHECK_EQUAL(told_count, 1);
    s2n_claim_end(&claims, &claim[1]);
    has_its_turn(1, 2);
    s2n_claim_end(&claims, &claim[2]);
}

static void who_gives_up_lets_others_on(void)
{
    start_claims();
    want(0, 0, 10, 11);
    want(1, 1, 10, 20);
    want(2, 2, 19, 20);
    CHECK(s2n_claim_give_up(&claims, &claim[1]));
    has_its_turn(0, 2);
    CHECK(!s2n_claim_give_up(&claims, &claim[2])); /* it was told, and is to end */
    s2n_claim_end(&claims, &claim[2]);
    s2n_claim_end(&claims, &claim[0]);
    CHECK_EQUAL(told_count, 1);
}

/* What waits for one that waits goes on when that is the engine's. */
static void who_goes_to_the_engine_lets_others_on(void)
{
    static struct s2n_claim engine = {.blocks = {12, 13}, .token = 7};

    start_claims();
    want(0, 0, 10, 11);
    want(1, 1, 10, 20);
    want(2, 2, 19, 20);
    engine.next = claims.first;
    claims.first->at = &engine.next;
    engine.at = &claims.first;
    claims.first = &engine;
    s2n_claim_end(&claims, &claim[0]);
    CHECK(told_count == 2 && told[0] == &claim[1]);
    CHECK_EQUAL(claim[1].state, S2N_CLAIM_NONE);
    has_its_turn(1, 2);
    s2n_claim_end(&claims, &claim[2]);
}

static void so_many_wait_and_no_more(void)
{
    start_claims();
    want(0, 0, 10, 11);
    for (uint32_t i = 1; i <= S2N_MOST_OWN_WAITING; i++)
        CHECK_EQUAL(want(i, 0, 10, 11), S2N_CLAIM_WAITS);
    CHECK_EQUAL(want(CLAIMS - 1, 0, 10, 11), S2N_CLAIM_NONE);
    CHECK_EQUAL(want(CLAIMS - 1, 0, 11, 12), S2N_CLAIM_HELD); /* which need not wait */
    for (uint32_t i = S2N_MOST_OWN_WAITING + 1; i <= S2N_MOST_WAITING; i++) {
        claim[i] = (struct s2n_claim){.blocks = {10, 11}, .party = &claim[i], .ended_wait = note};
        CHECK_EQUAL(s2n_claim_alone(&claims, &claim[i]), S2N_CLAIM_WAITS);
    }
    CHECK_EQUAL(want(CLAIMS - 2, 1, 10, 11), S2N_CLAIM_NONE);
    s2n_claim_end(&claims, &claim[0]);
    CHECK_EQUAL(want(CLAIMS - 2, 1, 10, 11), S2N_CLAIM_WAITS);
    CHECK_EQUAL(claims.waiting_count, S2N_MOST_WAITING);
}

enum { THREADS = 4, ROUNDS = 20000 };

struct thread {
    pthread_t thread;
    struct s2n_claim claim;
    sem_t called;
    uint64_t given_up;
};
static uint64_t alone_count; /* which nobody else changes meanwhile */

static void post(struct s2n_claim *which)
{
    struct thread *self = (struct thread *)((char *)which - offsetof(struct thread, claim));

    sem_post(&self->called);
}

static void *contend(void *argument)
{
    struct thread *self = argument;

    for (int i = 0; i < ROUNDS; i++) {
        self->claim = (struct s2n_claim){.blocks = {10, 11}, .party = self, .ended_wait = post};
        enum s2n_claim_state state = s2n_claim_alone(&claims, &self->claim);
        CHECK(state != S2N_CLAIM_NONE);
        if (state == S2N_CLAIM_WAITS && i % 7 == 0 && s2n_claim_give_up(&claims, &self->claim)) {
            self->given_up++;
            continue;
        }
        if (state == S2N_CLAIM_WAITS)
            while (sem_wait(&self->called))
                ;
        CHECK_EQUAL(self->claim.state, S2N_CLAIM_HELD);
        alone_count++;
        s2n_claim_end(&claims, &self->claim);
    }
    return NULL;
}

static void threads_exclude_one_another(void)
{
    static struct thread threads[THREADS];

    start_claims();
    for (int i = 0; i < THREADS; i++) {
        sem_init(&threads[i].called, 0, 0);
        CHECK(!pthread_create(&threads[i].thread, NULL, contend, &threads[i]));
    }
    uint64_t given_up = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        given_up += threads[i].given_up;
    }
    CHECK_EQUAL(alone_count + given_up, THREADS * ROUNDS);
    CHECK(!claims.first && !claims.waiting && !claims.alone && !claims.waiting_count);
}

/* ---- tasks ---- */

static void one_after_the_other(void)
{
    start_swaps(DEPTH, FUSED);
    for (int i = 0; i < 3; i++)
        swap(&op[i], 40, 1, 0);
    swap(&op[3], 41, 1, 0); /* which waits for nobody */
    rounds();
    CHECK_EQUAL(bench.device.seen, 4);
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t pair = i ? 2 + 2 * i : 0;
        expect_command(pair, COMPARE, 1, 40, 1);
        complete(pair, GOOD);
        CHECK(!op[i].completed);
        complete(pair + 1, GOOD);
        CHECK(op[i].completed && op[i].status == GOOD);
        CHECK_EQUAL(bench.device.seen, i < 2 ? 6 + 2 * i : 8);
    }
    no_event();
    complete_all();
    bench_close();
}

/* Its own range was there before; what came between is waited for. */
static void what_came_between_is_waited_for(void)
{
    start_swaps(DEPTH, FUSED);
    swap(&op[0], 40, 1, 0);
    swap(&op[1], 40, 2, 0);
    rounds();
    begin_read(&op[2], 0, 0, 41, 1);
    rounds();
    CHECK_EQUAL(bench.device.seen, 3);
    complete(0, GOOD);
    complete(1, GOOD);
    CHECK(op[0].completed);
    CHECK_EQUAL(bench.device.seen, 3);
    complete(2, GOOD);
    CHECK_EQUAL(bench.device.seen, 5);
    complete_all();
    CHECK(op[1].completed && op[1].status == GOOD);
    bench_close();
}

/* Whoever failed has its blocks until the engine has told why. */
static void a_failure_keeps_the_next_waiting(void)
{
    start_swaps(DEPTH, FUSED);
    swap(&op[0], 40, 1, 0);
    swap(&op[1], 40, 1, 0);
    rounds();
    complete(0, COMPARE_FAILURE);
    complete(1, FAILED_FUSED);
    CHECK_EQUAL(bench.device.seen, 3);
    complete(2, UNRECOVERED_READ);
    s2n_task *holder = expect_failure(&op[0], COMPARE, COMPARE_FAILURE);
    rounds();
    CHECK_EQUAL(bench.device.seen, 3);
    end_failed(&op[0], holder);
    rounds();
    CHECK_EQUAL(bench.device.seen, 5);
    complete_all();
    CHECK(op[1].completed && op[1].status == GOOD);
    bench_close();
}

static void abort_all(void)
{
    s2n_plane_abort(bench.plane, S2N_SCOPE_NEXUS, bench.nexus[0], NULL, 0, false, false, UINT64_MAX,
                    71);
}

static void what_waits_is_aborted_at_once(void)
{
    start_swaps(DEPTH, FUSED);
    for (int i = 0; i < 3; i++)
        swap(&op[i], 40, 1, 0);
    rounds();
    abort_all();
    CHECK(op[1].completed && op[1].aborted && op[2].completed && op[2].aborted);
    CHECK(!op[0].completed && !bench.lu[0]->claims.waiting);
    complete(0, COMPARE_FAILURE);
    complete(1, FAILED_FUSED);
    expect_drained(71, 3);
    CHECK_EQUAL(bench.device.seen, 2);
    swap(&op[3], 40, 1, 0);
    complete_all();
    CHECK(op[3].completed && op[3].status == GOOD);
    bench_close();
}

/* It waits for reads; the next for it. */
static void what_is_aborted_before_it_begins_lets_the_next_on(void)
{
    start_swaps(DEPTH, FUSED);
    begin_read(&op[0], 1, 0, 40, 1);
    swap(&op[1], 40, 1, 0);
    op[1].task->tag = 5;
    swap(&op[2], 40, 1, 0);
    rounds();
    s2n_plane_abort(bench.plane, S2N_SCOPE_TASK, bench.nexus[0], NULL, 5, false, false, UINT64_MAX,
                    71);
    CHECK(op[1].completed && op[1].aborted && !op[2].completed);
    expect_drained(71, 1);
    CHECK_EQUAL(bench.device.seen, 1); /* the read is waited for */
    complete(0, GOOD);
    CHECK_EQUAL(bench.device.seen, 3);
    complete_all();
    CHECK(op[2].completed && op[2].status == GOOD);
    bench_close();
}

static void what_the_engine_has_meanwhile_is_its_own(void)
{
    start_swaps(DEPTH, FUSED);
    swap(&op[0], 40, 1, 0);
    swap(&op[1], 40, 1, 0);
    swap(&op[2], 40, 2, 0);
    rounds();
    CHECK(s2n_lu_share(bench.lu[0], 40, 41, 7));
    complete(0, GOOD);
    complete(1, GOOD);
    answer_cold(&op[1]);
    answer_cold(&op[2]);
    s2n_lu_unshare(bench.lu[0], 7);
    CHECK(!bench.lu[0]->claims.alone && !bench.lu[0]->claims.waiting);
    bench_close();
}

/* A range, or all: it is looked at when the turn has come. */
static void a_drain_does_not_wait_for_what_waits(void)
{
    start_swaps(DEPTH, FUSED);
    swap(&op[0], 40, 1, 0);
    swap(&op[1], 40, 1, 0);
    rounds();
    s2n_lu_drain_range(bench.lu[0], 40, 41, 31);
    complete(0, GOOD);
    complete(1, GOOD);
    expect_drained(31, 0);
    answer_cold(&op[1]);
    s2n_lu_release_range(bench.lu[0], 31);
    swap(&op[1], 40, 1, 0);
    swap(&op[2], 40, 1, 0);
    rounds();
    s2n_lu_drain(bench.lu[0], 32);
    complete(2, GOOD);
    complete(3, GOOD);
    expect_drained(32, 0);
    no_event();
    s2n_lu_set_aside(bench.lu[0], false);
    complete_all();
    CHECK(op[2].completed && op[2].status == GOOD);
    bench_close();
}

/* It meets what was under way already, and is told at once. */
static void a_lost_controller_ends_all(void)
{
    start_swaps(DEPTH, FUSED);
    for (int i = 0; i < 3; i++)
        swap(&op[i], 40, 1, 0);
    rounds();
    s2n_controller_pause(bench.controller, 41);
    expect_drained(41, 0);
    s2n_controller_fail(bench.controller, INTERNAL_ERROR);
    rounds();
    for (int i = 0; i < 3; i++) {
        s2n_task *holder = expect_failure(&op[i], COMPARE, INTERNAL_ERROR);
        end_failed(&op[i], holder);
        rounds();
    }
    no_event();
    bench_close();
}

int main(void)
{
    RUN(parties_have_their_turns);
    RUN(nobody_overtakes_with_the_same_blocks);
    RUN(who_gives_up_lets_others_on);
    RUN(who_goes_to_the_engine_lets_others_on);
    RUN(so_many_wait_and_no_more);
    RUN(threads_exclude_one_another);
    RUN(one_after_the_other);
    RUN(what_came_between_is_waited_for);
    RUN(a_failure_keeps_the_next_waiting);
    RUN(what_waits_is_aborted_at_once);
    RUN(what_is_aborted_before_it_begins_lets_the_next_on);
    RUN(what_the_engine_has_meanwhile_is_its_own);
    RUN(a_drain_does_not_wait_for_what_waits);
    RUN(a_lost_controller_ends_all);
    return 0;
}
