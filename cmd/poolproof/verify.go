package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// verifyFlags say what to verify.
type verifyFlags struct {
	checks        int
	processChecks int
	seed          uint64
	layers        []string
	env           []string
	stall         time.Duration
	asJSON        bool
}

func verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [flags] [-- COMMAND [ARG]...]",
		Short: "Verify the pool on every layer, or with your own worker program",
		Long: `Verify the pool: random operations, hook outcomes and time steps, in lock step with the
reference model, on each layer.

  memory   workers that are nothing but their number, in virtual time
  wire     workers that speak the protocol over a pipe in memory, in virtual time
  go       real processes, written in Go
  python   real processes, written in Python, where python3 is found

Real processes are first held to the protocol on their own; if they break it, no pool is
verified over them.

With a COMMAND only that worker program is verified, as real processes; docs/protocol.md
says what it must speak. It is started many times over, in the current folder, with PATH
and what --env names, nothing else. A Python worker imports poolproof_worker (in the
repository: pool/process/python), which Python finds in the folder of the script.

At the end each layer's cost is taken: a pool of 2 workers is pinged by one client and by 4.
These figures are shown side by side and judged by nobody.

The results go to standard output, progress to standard error. A verdict is passed only
if as many checks were executed as were asked for. An interrupted run (Ctrl-C, SIGTERM)
prints what it has so far and exits with code 2.`,
		Example: "  poolproof verify\n  poolproof verify --checks 20000 --layer memory\n  poolproof verify -- python3 worker.py",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd, args); err != nil {
				return err
			}
			return verify(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), &f, args)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.checks, "checks", 500, "random checks of each subtest on the layers in memory")
	flags.IntVar(&f.processChecks, "process-checks", 20, "random checks of each subtest with real processes")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of all random choices; 0 draws one")
	flags.StringSliceVar(&f.layers, "layer", nil, "verify these layers only: memory, wire, go, python")
	flags.StringArrayVar(&f.env, "env", nil, "environment of COMMAND: KEY=value, or KEY to hand on; may be repeated")
	flags.DurationVar(&f.stall, "stall", 5*time.Minute, "end a layer that makes no progress for so long")
	flags.BoolVar(&f.asJSON, "json", false, "print the results as JSON")
	return cmd
}

// check holds the command line against what it may say.
func (f *verifyFlags) check(cmd *cobra.Command, args []string) error {
	dash := cmd.ArgsLenAtDash()
	var errs []error
	complain := func(bad bool, format string, values ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, values...))
		}
	}
	if dash != 0 && len(args) > 0 {
		program := args
		if dash > 0 {
			program = append(args[:dash:dash], args[dash:]...)
		}
		return fmt.Errorf("%q is no flag; put a worker program behind --, as in: poolproof verify -- %s", args[0], shellWords(program))
	}
	complain(dash == 0 && len(args) == 0, "-- is not followed by a COMMAND; name a worker program, or leave -- out")
	complain(f.checks < 1 || f.processChecks < 1, "--checks is %d and --process-checks is %d; both must be at least 1", f.checks, f.processChecks)
	complain(f.stall <= 0, "--stall is %v; it must be more than 0", f.stall)
	complain(cmd.Flags().Changed("layer") && len(f.layers) == 0, "--layer names no layer; want %s", strings.Join(allLayers(), ", "))
	if len(args) > 0 {
		complain(len(f.layers) > 0, "--layer and a COMMAND exclude each other; leave one out")
		complain(cmd.Flags().Changed("checks"), "--checks is for the layers in memory; with a COMMAND use --process-checks")
	} else {
		complain(len(f.env) > 0, "--env is for a COMMAND; put one behind --, or leave --env out")
	}
	return errors.Join(errs...)
}

func verify(ctx context.Context, stdout, stderr io.Writer, f *verifyFlags, command []string) error {
	for f.seed == 0 {
		f.seed = rand.Uint64()
	}
	temp, err := os.MkdirTemp("", "poolproof-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	layers, notes, err := f.choose(ctx, temp, command)
	if err == nil && len(command) > 0 {
		_, err = tryWorker(ctx, "verify", &layers[0].spec)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if err != nil {
		return err
	}
	report := verification{Seed: f.seed, Rows: []row{}, Notes: notes}
	runErr := f.run(ctx, stderr, layers, &report)
	report.Passed = runErr == nil && report.complete()
	if f.asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(&report)
	} else {
		err = report.print(stdout)
	}
	if err := errors.Join(runErr, err); err != nil {
		return err
	}
	if !report.Passed {
		return errFailed
	}
	return nil
}

// run verifies one layer after the other. The report has rows for all of them even if an
// error cuts it short.
func (f *verifyFlags) run(ctx context.Context, stderr io.Writer, layers []layer, report *verification) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	show := newDisplay(stderr, func(err error) {
		if errors.Is(err, syscall.EPIPE) { // nobody is there to read
			cancel(err)
		}
	})
	defer show.close()
	show.line("seed %d", f.seed)
	for i := range layers {
		l := &layers[i]
		var end layerEnd
		if ctx.Err() == nil {
			end = superviseLayer(ctx, l, f.stall, show)
		}
		rows, failure := end.judged(l, ctx.Err() != nil)
		report.Rows = append(report.Rows, rows...)
		if end.cost != nil {
			report.Costs = append(report.Costs, *end.cost)
		}
		if failure != "" {
			report.Failures = append(report.Failures, failure)
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	return nil
}
