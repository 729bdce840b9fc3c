#!/usr/bin/env python3
"""Prints what an audit found in a ledger, and the peak use of each account against its budget.

  vramgate audit LEDGER --format json >AUDIT; print_audit.py AUDIT LEDGER

Exit 0: no violation and nothing missing; 1: a finding; 2: a file that cannot be read.
"""
import csv
import json
import sys

UNLIMITED = 9223372036854775807


def gib(count):
    return f"{count / 2**30:.2f} GiB"


def budgets(ledger):
    """{account: its smallest and its last capacity in the ledger}"""
    found = {}
    with open(ledger, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            capacity = int(row["capacity_bytes"])
            least, _ = found.get(row["account"], (capacity, capacity))
            found[row["account"]] = min(least, capacity), capacity
    return found


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            audit = json.load(file)
        capacities = budgets(sys.argv[2])
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"print_audit: {error}", file=sys.stderr)
        return 2
    print("\nPeak use against budget (from the ledger file)")
    for account, peak in sorted(audit["peak_used_bytes"].items()):
        least, last = capacities[account]
        if last == UNLIMITED:
            print(f"  {account:<28} {gib(peak):>12}   no limit")
            continue
        shrunk = f"   (at times only {gib(least)})" if least < last else ""
        print(f"  {account:<28} {gib(peak):>12}   of {gib(last):>12}  {100 * peak / max(last, 1):5.1f} %{shrunk}")
    violations = audit["overruns"] + audit["leaks"]
    print(f"\nViolations: {violations} ({audit['overruns']} overruns, {audit['leaks']} leaks of "
          f"{audit['leaked_bytes']} bytes) in {audit['rows']:,} rows, "
          f"{'complete' if audit['complete'] else 'INCOMPLETE'}: counted by `vramgate audit` from the file alone")
    return 0 if violations == 0 and audit["complete"] else 1


if __name__ == "__main__":
    sys.exit(main())
