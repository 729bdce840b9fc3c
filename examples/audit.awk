# Finds overruns and leaks in a ledger file, apart from vramgate's own auditor:  awk -F, -f examples/audit.awk ledger.csv
# Prints what it finds and the counts; exit 1 if there is anything, or if rows are missing.
function leak(text) { leaks++; print "leak: " text }
function settle(  k, a) {  # a run ends: what was released must have come back, every account must have its STOP
  for (k in sum) { split(k, a, SUBSEP); if (a[1] in ended || sum[k] < 0) leak("lease " a[1] " ended with " sum[k] " bytes of " a[2]) }
  for (k in used) if (!(k in stop) && !(k ~ /^tenant\// && used[k] == 0)) { missing++; print "incomplete: no STOP of " k }
  split("", sum); split("", ended); split("", used); split("", stop)
}
NR == 1 { next }
$2 == "LOST" { missing += $3; print "incomplete: " $3 " rows were lost"; exit }
$2 == "START" && ($4 in used) && $4 !~ /^tenant\// { settle() }
{ used[$4] += $5; delete stop[$4] }
used[$4] != $6 { leak("line " NR ": used " $6 " is not the sum " used[$4] " of " $4); used[$4] = $6 }
$5 > 0 && $6 > $7 { overruns++; print "overrun: line " NR ": " $4 " used " $6 " > capacity " $7 }
$2 != "FIXED" && $5 != 0 { sum[$3, $4] += $5; if (sum[$3, $4] == 0) delete sum[$3, $4] }
$2 == "RELEASE" || $2 == "EXPIRE" { ended[$3] }
$2 == "STOP" { stop[$4] }
END { settle(); print overruns + 0 " overruns, " leaks + 0 " leaks"; exit overruns + leaks + missing > 0 }
