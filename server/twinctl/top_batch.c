#include "server/twinctl/top_batch.h"

#include "server/twinctl/top_table.h"

void top_batch_print(FILE *out, struct top_model *model)
{
    struct buffer text = {0};
    top_model_sort(model, TOP_SORT_PROCESS);
    top_table_head(model, &text);
    top_table_titles(&text, TOP_ANY_WIDTH, TOP_SORT_PROCESS);
    buffer_append(&text, "\n", 1);
    for (size_t i = 0; i < model->row_count; i++) {
        top_table_row(&model->rows[i], NULL, TOP_ANY_WIDTH, &text);
        buffer_append(&text, "\n", 1);
    }
    fwrite(text.data, 1, text.len, out);
    buffer_free(&text);
}
