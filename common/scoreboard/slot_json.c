#include "common/scoreboard/slot_json.h"

void slot_json_put(struct json_writer *json, const struct worker_slot *slot, uint32_t index)
{
    json_put_uint(json, "slot", index);
    json_put_uint(json, "worker", index); /* the name of slot until now, for one release more */
    json_put_int(json, "tid", atomic_load(&slot->tid));
    json_put_text(json, "role", slot_role_name(atomic_load(&slot->role)));
    json_put_text(json, "state", slot_state_name(atomic_load(&slot->state)));
}
