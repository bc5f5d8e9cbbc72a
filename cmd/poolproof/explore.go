package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/poolproof/poolproof/model"
)

// exploreFlags are the bounds of an exploration.
type exploreFlags struct {
	workers, sessions, clients int
	minSize, waiters, ttl      int
	affinity                   string
	maxStates, maxDepth        int
	asJSON                     bool
}

// exploration is the result as -json prints it.
type exploration struct {
	Affinity       string  `json:"affinity"`
	Workers        int     `json:"workers"`
	Sessions       int     `json:"sessions"`
	Clients        int     `json:"clients"`
	States         int     `json:"states"`
	Transitions    int     `json:"transitions"`
	Depth          int     `json:"depth"`
	BoundHit       bool    `json:"bound_hit"`
	Seconds        float64 `json:"seconds"`
	StatesPerSec   float64 `json:"states_per_second"`
	Verdict        string  `json:"verdict"`
	Counterexample string  `json:"counterexample,omitempty"`
}

func exploreCommand() *cobra.Command {
	var f exploreFlags
	cmd := &cobra.Command{
		Use:   "explore",
		Short: "Enumerate every state of the reference model",
		Long: `Enumerate every state that the reference model can reach within the bounds, check the
invariants in each, and check that no waiter can get stuck. The search is breadth first,
so that a counterexample is a shortest one.`,
		Example: "  poolproof explore --workers 2 --sessions 1 --clients 2 --affinity sticky",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return explore(cmd.OutOrStdout(), &f)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.workers, "workers", 2, "the largest MaxSize")
	flags.IntVar(&f.sessions, "sessions", 1, "session names")
	flags.IntVar(&f.clients, "clients", 2, "concurrent callers")
	flags.IntVar(&f.minSize, "min-size", 0, "MinSize at first")
	flags.IntVar(&f.waiters, "max-waiters", 0, "MaxWaiters; 0 is no limit")
	flags.IntVar(&f.ttl, "ttl", 1, "SessionTTL in ticks; 0 is no limit")
	flags.StringVar(&f.affinity, "affinity", "strict", "strict, sticky or prefer")
	flags.IntVar(&f.maxStates, "max-states", 0, "stop when so many states are known; 0 is no limit")
	flags.IntVar(&f.maxDepth, "max-depth", 0, "do not go further than so many operations; 0 is no limit")
	flags.BoolVar(&f.asJSON, "json", false, "print the result as JSON")
	return cmd
}

// config returns the model's configuration that the flags ask for.
func (f *exploreFlags) config() (*model.Config, error) {
	affinity, ok := map[string]model.Affinity{
		"strict": model.Strict, "sticky": model.Sticky, "prefer": model.Prefer,
	}[f.affinity]
	if !ok {
		return nil, fmt.Errorf("--affinity is %q; want strict, sticky or prefer", f.affinity)
	}
	sizes := []model.Size{{Min: uint8(f.minSize), Max: uint8(f.workers)}}
	if f.workers > 1 {
		sizes = append(sizes, model.Size{Max: uint8(f.workers - 1)})
	}
	cfg := &model.Config{
		MinSize: f.minSize, MaxSize: f.workers, MaxWaiters: f.waiters, StartConcurrency: f.workers,
		BackoffMin: 1, BackoffMax: 1, Affinity: affinity, SessionTTL: f.ttl,
		Clients: f.clients, Sessions: f.sessions,
		Offer: model.OfferAll(sizes...),
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("cannot explore that: %w", err)
	}
	return cfg, nil
}

func explore(out io.Writer, f *exploreFlags) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	report, err := model.Explore(cfg, model.Bounds{MaxStates: f.maxStates, MaxDepth: f.maxDepth})
	if err != nil {
		return err
	}
	e := exploration{
		Affinity: f.affinity, Workers: f.workers, Sessions: f.sessions, Clients: f.clients,
		States: report.States, Transitions: report.Transitions, Depth: report.Depth, BoundHit: report.BoundHit,
		Seconds: report.Search.Seconds(), StatesPerSec: report.StatesPerSecond(), Verdict: "every rule holds",
	}
	switch {
	case report.Counterexample != nil:
		e.Verdict, e.Counterexample = "a rule is broken", report.Counterexample.String()
	case report.BoundHit:
		e.Verdict = "no rule is broken within the bounds, which were hit"
	}
	if f.asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(e)
	} else {
		err = e.print(out)
	}
	if err == nil && report.Counterexample != nil {
		return errFailed
	}
	return err
}

func (e *exploration) print(out io.Writer) error {
	rows := [][2]string{
		{"model", fmt.Sprintf("%s affinity, %d workers, %d sessions, %d clients", e.Affinity, e.Workers, e.Sessions, e.Clients)},
		{"states", fmt.Sprint(e.States)},
		{"transitions", fmt.Sprint(e.Transitions)},
		{"depth", fmt.Sprint(e.Depth)},
		{"time", time.Duration(e.Seconds * float64(time.Second)).Round(time.Millisecond).String()},
		{"states/s", fmt.Sprintf("%.0f", e.StatesPerSec)},
		{"verdict", e.Verdict},
	}
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%-12s %s\n", r[0], r[1])
	}
	if e.Counterexample != "" {
		fmt.Fprintf(&b, "\n%s\n", e.Counterexample)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
