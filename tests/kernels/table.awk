# Makes a table of the results of several kernels: a row for each case, a column for each kernel.
# A cell has each outcome; one that not all settings have names its settings.

BEGIN { FS = "\t" }

FNR == 1 { kernel = "" }

# A console ends its lines with both.
{ sub(/\r$/, "") }

/^@kernel / {
    split($0, words, " ")
    kernel = words[2] (/PREEMPT_RT/ && words[2] !~ /-rt/ ? " (RT)" : "")
    kernels[++columns] = kernel
}

$1 == "@" {
    setting = $2
    sub(/paranoid /, "p", setting)
    sub(/Yama /, "y", setting)
    row = $4 ", " $3
    if (!(row in seen)) {
        seen[row] = 1
        rows[++lines] = row
    }
    outcome = $6
    # An engine that was not asked for is part of the outcome.
    split($4, asked, " ")
    if (outcome == "exact" && $4 !~ /^(SIGKILL|without)/ && asked[2] != $7 && $7 != "sock_diag")
        outcome = "exact by " $7
    if ($4 ~ /^(SIGKILL|without)/ && outcome == "exact")
        outcome = $7
    cell = kernel SUBSEP row
    if (!((cell, outcome) in count))
        outcomes[cell, ++kinds[cell]] = outcome
    count[cell, outcome]++
    all[cell]++
    if (!((cell, outcome, setting) in here)) {
        here[cell, outcome, setting] = 1
        where[cell, outcome] = where[cell, outcome] " " setting
    }
    totals[kernel, $6]++
}

/^@recipes/ { recipes[kernel] = 1 }
/^@complaint/ { complaints[kernel]++ }
/^@end/ { ended[kernel] = 1 }

function cell_of(cell,    n, i, best, text, outcome) {
    n = kinds[cell]
    if (n == 0)
        return "-"
    for (i = 1; i <= n; i++)
        if (best == "" || count[cell, outcomes[cell, i]] > count[cell, best])
            best = outcomes[cell, i]
    text = best
    for (i = 1; i <= n; i++) {
        outcome = outcomes[cell, i]
        if (outcome != best)
            text = text "; " outcome " (" count[cell, outcome] ":" where[cell, outcome] ")"
    }
    return text
}

function line(title,    c, text) {
    text = "| " title " |"
    for (c = 1; c <= columns; c++)
        text = text " " value[c] " |"
    print text
}

END {
    for (c = 1; c <= columns; c++)
        value[c] = kernels[c]
    line("case")
    for (c = 1; c <= columns; c++)
        value[c] = "---"
    line("---")
    for (r = 1; r <= lines; r++) {
        for (c = 1; c <= columns; c++)
            value[c] = cell_of(kernels[c] SUBSEP rows[r])
        line(rows[r])
    }
    for (c = 1; c <= columns; c++)
        value[c] = recipes[kernels[c]] ? "as documented" : "no"
    line("recipes of the README")
    for (c = 1; c <= columns; c++)
        value[c] = complaints[kernels[c]] + 0
    line("complaints of the kernel")
    for (c = 1; c <= columns; c++)
        value[c] = totals[kernels[c], "exact"] + 0 " / " totals[kernels[c], "refused"] + 0 " / " \
            totals[kernels[c], "incomplete"] + 0 " / " totals[kernels[c], "peers unknown"] + 0 " / " \
            totals[kernels[c], "WRONG"] + 0 \
            (ended[kernels[c]] ? "" : ", cut short")
    line("exact / refused / incomplete / peers unknown / wrong")
    for (c = 1; c <= columns; c++)
        if (totals[kernels[c], "WRONG"] || !ended[kernels[c]])
            failed = 1
    exit failed
}
