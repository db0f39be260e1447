/* Turns by bytes. */
#include "flow.h"

#include <stddef.h>

#include "constants_gen.h"

enum {
    /* Many that waited for one begin at once when it ends. Whatever else comes, as pings and what
     * is to abort them, waits no longer than for the largest command. */
    MOST_OWED = S2N_MAXIMUM_TRANSFER,
    MOST_ROUNDS = 4096, /* that have paid for it */
    SHRINK_ROUNDS = 16, /* who has little to do is not there in each round */
};

void s2n_flow_open(struct s2n_flow *flow, struct s2n_reactor *reactor,
                   void (*resume)(struct s2n_flow *flow))
{
    *flow = (struct s2n_flow){.flows = s2n_reactor_flows(reactor), .resume = resume};
}

void s2n_flow_close(struct s2n_flow *flow)
{
    struct s2n_flow *before = NULL;

    if (!flow->waits)
        return;
    flow->waits = false;
    for (struct s2n_flow *at = flow->flows->first; at != flow; at = at->next)
        before = at;
    *(before ? &before->next : &flow->flows->first) = flow->next;
    if (flow->flows->last == flow)
        flow->flows->last = before;
}

void s2n_flow_wait(struct s2n_flow *flow)
{
    struct s2n_flows *flows = flow->flows;

    if (flow->waits)
        return;
    flow->waits = true;
    flow->since = flows->round;
    flow->next = NULL;
    *(flows->first ? &flows->last->next : &flows->first) = flow;
    flows->last = flow;
}

static int64_t quantum(const struct s2n_flows *flows)
{
    uint32_t share = S2N_ROUND_BYTES / (flows->usual ? flows->usual : 1);

    return share < S2N_LEAST_QUANTUM ? S2N_LEAST_QUANTUM : share;
}

/* Give a flow what is due to it since it was here last. */
static void renew(struct s2n_flow *flow)
{
    struct s2n_flows *flows = flow->flows;
    uint64_t passed = flows->round - flow->round;
    int64_t each = quantum(flows);

    if (passed > MOST_ROUNDS)
        passed = MOST_ROUNDS;
    flow->round = flows->round;
    flows->active++;
    for (int i = 0; i < S2N_ACCOUNTS; i++) {
        flow->credit[i] += (int64_t)passed * each;
        if (flow->credit[i] > each)
            flow->credit[i] = each; /* nobody saves for later */
    }
}

inline int64_t s2n_flow_credit(struct s2n_flow *flow, enum s2n_account account)
{
    if (flow->round != flow->flows->round)
        renew(flow);
    return flow->credit[account];
}

inline void s2n_flow_charge(struct s2n_flow *flow, enum s2n_account account, uint64_t bytes)
{
    (void)s2n_flow_credit(flow, account);
    flow->credit[account] -= (int64_t)bytes;
    if (flow->credit[account] < -MOST_OWED)
        flow->credit[account] = -MOST_OWED;
    if (account == S2N_BEGUN)
        flow->flows->begun += bytes;
}

void s2n_flow_go_on(struct s2n_flow *flow, uint64_t bytes)
{
    flow->flows->begun += bytes;
}

void s2n_flows_begin_round(struct s2n_flows *flows)
{
    if (flows->active > flows->usual)
        flows->usual = flows->active;
    else if (!(flows->round % SHRINK_ROUNDS))
        flows->usual -= (flows->usual - flows->active + 3) / 4;
    flows->active = 0;
    flows->begun = 0;
    flows->round++;
}

void s2n_flows_resume(struct s2n_flows *flows)
{
    struct s2n_flow *flow;

    while ((flow = flows->first) && flow->since != flows->round) {
        s2n_flow_close(flow);
        flow->resume(flow);
    }
}
