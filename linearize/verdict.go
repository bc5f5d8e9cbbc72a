package linearize

import (
	"fmt"
	"strings"
	"time"
)

// Result is what a judge concludes.
type Result uint8

// The results. Unknown is a failure: nothing was shown.
const (
	Unknown Result = iota
	Ok
	Illegal
)

// String names the result.
func (r Result) String() string {
	return nameOf([]string{"unknown", "ok", "illegal"}, int(r), "result")
}

// Verdict is the outcome of judging a history.
type Verdict struct {
	Result  Result
	Rule    string   // the promise that is broken, "I1" to "I18", or "history" if it contradicts itself
	Text    string   // one sentence: what is wrong, or why nothing is known
	Ops     []int    // IDs of the operations that show it
	Changes []uint64 // Seq of the changes that show it
	Judge   string   // who decided: "form", "witness", "partition", "affinity", "search"
	Spent   Spent

	why why
}

// Spent is what judging took.
type Spent struct {
	Steps   int64         // of the search: operations tried
	Bytes   int64         // of the search: memory reckoned for the states that it remembers
	Elapsed time.Duration // in all
}

// Budget bounds the search. Each zero means the default beside it.
type Budget struct {
	Steps   int64         // operations tried; 20 million
	Bytes   int64         // memory for the states remembered; 512 MiB
	Timeout time.Duration // of the search; none
}

// The defaults of Budget.
const (
	DefaultSteps = 20_000_000
	DefaultBytes = 512 << 20
)

func (b Budget) withDefaults() Budget {
	if b.Steps == 0 {
		b.Steps = DefaultSteps
	}
	if b.Bytes == 0 {
		b.Bytes = DefaultBytes
	}
	return b
}

// Err returns nil for Ok, and else the verdict as an error.
func (v *Verdict) Err() error {
	if v.Result == Ok {
		return nil
	}
	return fmt.Errorf("linearize: %s", v)
}

// String says the verdict in one line.
func (v *Verdict) String() string {
	var b strings.Builder
	b.WriteString(v.Result.String())
	if v.Rule != "" {
		fmt.Fprintf(&b, ": %s", v.Rule)
	}
	if v.Text != "" {
		fmt.Fprintf(&b, ": %s", v.Text)
	}
	if v.Judge != "" {
		fmt.Fprintf(&b, " (%s", v.Judge)
		if v.Spent.Steps > 0 {
			fmt.Fprintf(&b, ", %d steps, %d bytes", v.Spent.Steps, v.Spent.Bytes)
		}
		b.WriteString(")")
	}
	return b.String()
}
