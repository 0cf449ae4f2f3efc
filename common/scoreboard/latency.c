#include "common/scoreboard/latency.h"

void latency_read(const struct latency *latency, struct latency_copy *out)
{
    histogram_read(&latency->requests, &out->requests);
    histogram_read(&latency->turns, &out->turns);
}

void latency_add(struct latency_copy *sum, const struct latency *latency)
{
    struct latency_copy more;
    latency_read(latency, &more);
    histogram_sum(&sum->requests, &more.requests);
    histogram_sum(&sum->turns, &more.turns);
}

void latency_take(struct latency_copy *sum, struct latency *latency)
{
    latency_add(sum, latency);
    histogram_clear(&latency->requests);
    histogram_clear(&latency->turns);
}

void latency_write(struct latency *latency, const struct latency_copy *copy)
{
    histogram_write(&latency->requests, &copy->requests);
    histogram_write(&latency->turns, &copy->turns);
}

void latency_window(const struct latency_copy *later, const struct latency_copy *earlier,
                    struct latency_copy *out)
{
    histogram_window(&later->requests, &earlier->requests, &out->requests);
    histogram_window(&later->turns, &earlier->turns, &out->turns);
}
