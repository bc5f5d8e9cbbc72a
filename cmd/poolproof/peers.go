package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/poolproof/poolproof/peers"
)

// peersFlags say which peers to verify, and how.
type peersFlags struct {
	targets    []string
	known      []string
	checks     int
	time       time.Duration
	seed       uint64
	instrument bool
	race       bool
	source     string
	page       string
	asJSON     bool
}

func peersCommand() *cobra.Command {
	var f peersFlags
	cmd := &cobra.Command{
		Use:   "peers [flags]",
		Short: "Verify other people's pools",
		Long: `Verify other people's pools: random operations, hook failures, panics and time steps, in
child processes, judged by what each pool's documentation promises.

Each peer is built at the version asked for, in a temporary module, with the adapter from
the folder peers of the repository; the go command gets what it needs from its module proxy.
A peer may have several targets: the pool in several configurations. Those that cannot live
in a bubble with virtual time are checked in real time, where one run counts for twenty checks;
or in both, if it is hooks that wait which hang the bubble.

A target is checked until --checks checks of each subtest are done or --time is over. What
is found is a script, made short; --page writes all of them. A fault that is known hides
others: --known passes by the runs that break a rule.

Peers: ` + strings.Join(peerNames(), ", ") + `

Exit codes: 0 nothing was found; 1 a promise is broken, or too little was executed; 2 a
peer cannot be built, or the command was interrupted.`,
		Example: `  poolproof peers
  poolproof peers --target puddle2@v2.2.2
  poolproof peers --target redigo --known panic --time 10m --checks 1000000 --page redigo.html`,
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted, err := f.check(args)
			if err != nil {
				return err
			}
			return f.verifyPeers(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), wanted)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.targets, "target", nil, "verify these only: NAME, or NAME@VERSION; may be repeated")
	flags.StringSliceVar(&f.known, "known", nil, "pass by runs that break these rules, such as I5 or panic")
	flags.IntVar(&f.checks, "checks", 2000, "random checks of each subtest")
	flags.DurationVar(&f.time, "time", time.Minute, "begin no more checks of a target after so long")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of all random choices; 0 draws one")
	flags.BoolVar(&f.instrument, "instrument", false, "put the peers under the scheduler's control, as 'poolproof test' does")
	flags.BoolVar(&f.race, "race", false, "build with the race detector; a data race is a finding")
	flags.StringVar(&f.source, "source", "", "the folder of poolproof's source (default where this command comes from)")
	flags.StringVar(&f.page, "page", "", "write a page with the table and all scripts to this file")
	flags.BoolVar(&f.asJSON, "json", false, "print the results as JSON")
	return cmd
}

func peerNames() []string {
	var names []string
	for _, p := range peers.List() {
		names = append(names, p.Name)
	}
	return names
}

// wantedPeer is a peer at some version.
type wantedPeer struct {
	peer    peers.Peer
	version string
}

func (w *wantedPeer) String() string {
	if w.version == "" {
		return w.peer.Name
	}
	return w.peer.Name + "@" + w.version
}

// check holds the command line against what it may say and returns the peers that it names.
func (f *peersFlags) check(args []string) ([]wantedPeer, error) {
	var errs []error
	if len(args) > 0 {
		errs = append(errs, fmt.Errorf("%q is no flag; name a peer with --target", args[0]))
	}
	if f.checks < 1 {
		errs = append(errs, fmt.Errorf("--checks is %d; it must be at least 1", f.checks))
	}
	if f.time <= 0 {
		errs = append(errs, fmt.Errorf("--time is %v; it must be more than 0", f.time))
	}
	if f.page != "" { // else it is known only after all the work
		page, err := os.OpenFile(f.page, os.O_CREATE|os.O_WRONLY, 0o666)
		if err == nil {
			err = page.Close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--page cannot be written: %w", err))
		}
	}
	targets := f.targets
	if len(targets) == 0 {
		targets = peerNames()
	}
	var wanted []wantedPeer
	for _, target := range targets {
		name, version, has := strings.Cut(target, "@")
		w, err := newWantedPeer(name, version, has)
		errs = append(errs, err)
		wanted = append(wanted, w)
	}
	return wanted, errors.Join(errs...)
}

// newWantedPeer returns the peer of that name, at its own version unless another is asked for.
func newWantedPeer(name, version string, has bool) (wantedPeer, error) {
	for _, p := range peers.List() {
		switch {
		case p.Name != name:
		case has && p.Module == "":
			return wantedPeer{}, fmt.Errorf("--target %s@%s: it is part of Go; its version is that of the go command", name, version)
		case has && version == "":
			return wantedPeer{}, fmt.Errorf("--target %s@: the version is missing", name)
		case has:
			return wantedPeer{p, version}, nil
		default:
			return wantedPeer{p, p.Version}, nil
		}
	}
	return wantedPeer{}, fmt.Errorf("--target names %q; want %s", name, strings.Join(peerNames(), ", "))
}

// verifyPeers verifies one peer after the other and prints what came of it.
func (f *peersFlags) verifyPeers(ctx context.Context, stdout, stderr io.Writer, wanted []wantedPeer) error {
	for f.seed == 0 {
		f.seed = rand.Uint64()
	}
	fmt.Fprintf(stderr, "seed %d\n", f.seed)
	report := peersReport{Seed: f.seed, Rows: []peerRow{}}
	temp, err := os.MkdirTemp("", "poolproof-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	var runErr error
	for i := range wanted {
		rows, err := f.verifyPeer(ctx, filepath.Join(temp, fmt.Sprint(i)), &wanted[i], stderr)
		report.Rows = append(report.Rows, rows...)
		if err != nil {
			runErr = errors.Join(runErr, fmt.Errorf("%s: %w", &wanted[i], err))
		}
		if ctx.Err() != nil {
			runErr = fmt.Errorf("interrupted: %w", context.Cause(ctx))
			break
		}
	}
	report.Passed = runErr == nil && report.clean()
	if f.asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(&report)
	} else {
		err = report.print(stdout)
	}
	if f.page != "" {
		err = errors.Join(err, report.writePage(f.page))
	}
	switch err := errors.Join(runErr, err); {
	case err != nil:
		return err
	case !report.Passed:
		return errFailed
	}
	return nil
}

// verifyPeer builds a peer in dir and verifies all its targets.
func (f *peersFlags) verifyPeer(ctx context.Context, dir string, w *wantedPeer, stderr io.Writer) ([]peerRow, error) {
	b, err := f.buildPeer(ctx, dir, w.peer, w.version)
	if err != nil {
		return nil, err
	}
	names, err := b.targets(ctx, dir)
	if err != nil {
		return nil, err
	}
	var rows []peerRow
	for _, name := range names {
		row, err := f.verifyTarget(ctx, dir, b, name)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
		fmt.Fprintf(stderr, "%s %s: %s\n", name, b.version, row.summary())
	}
	return rows, nil
}
