package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/poolproof/poolproof/faults"
)

// chaosFlags say which scenarios to run, and how.
type chaosFlags struct {
	scenarios []string
	scale     float64
	seed      uint64
	layer     string
	env       []string
	asJSON    bool
	page      string
	plan      string
	history   string
}

// mostScale bounds --scale: at 20 the scenarios take hours.
const mostScale = 20

func chaosCommand() *cobra.Command {
	var f chaosFlags
	cmd := &cobra.Command{
		Use:   "chaos [flags] [-- COMMAND [ARG]...]",
		Short: "Harm the workers of a pool on purpose, under load, and see that it recovers",
		Long: `Harm the workers of a pool on purpose, under load, and see that it recovers. Each scenario
opens a pool of five workers, calls it at intended times, injects faults, heals, and verifies
that capacity is back in full and that every call was answered exactly once and rightly. A
fault that did not land, or too little traffic, fails the scenario; so does a history that
breaks a rule of docs/semantics.md. docs/chaos.md says what is demanded, and how to read the
table and the page.

The workers are Python's demo where python3 is found, else Go's. --layer chooses: go, python,
wire (the protocol over a pipe in memory) or memory (fakes). With a COMMAND they are that
worker program, in the current folder, with PATH and what --env names, nothing else; it is
tried once before it is harmed. A scenario that needs what the workers cannot do is listed as
not run, with the reason; unless it was left out by --scenario, the exit code is 1 then.

The results go to standard output, progress to standard error. An interrupt (Ctrl-C, SIGTERM)
heals, ends all processes, prints what there is so far and exits with code 2.

Scenarios: ` + strings.Join(scenarioNames(), ", ") + `

Exit codes: 0 all that was asked for ran and passed; 1 a scenario failed or was not run; 2
wrong flags, a worker program that does not start, an interrupt.`,
		Example: `  poolproof chaos --scenario worker-crash,cascade --scale 0.2
  poolproof chaos --page chaos.html
  poolproof chaos -- python3 worker.py`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd, args); err != nil {
				return err
			}
			return f.chaos(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.scenarios, "scenario", nil, "run these only; may be repeated")
	flags.Float64Var(&f.scale, "scale", 1, "how long the scenarios take, in relation to their full length")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of all random choices; 0 takes that of --plan, or draws one")
	flags.StringVar(&f.layer, "layer", "", "what the workers are: go, python, wire or memory (default python where python3 is found, else go)")
	flags.StringArrayVar(&f.env, "env", nil, "environment of COMMAND: KEY=value, or KEY to hand on; may be repeated")
	flags.BoolVar(&f.asJSON, "json", false, "print the results as JSON")
	flags.StringVar(&f.page, "page", "", "write a page with the results over time to this file")
	flags.StringVar(&f.plan, "plan", "", "run the plan in this file instead of scenarios")
	flags.StringVar(&f.history, "history", "", "keep the histories in this folder")
	return cmd
}

// check holds the command line against what it may say.
func (f *chaosFlags) check(cmd *cobra.Command, args []string) error {
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
		return fmt.Errorf("%q is no flag; put a worker program behind --, as in: poolproof chaos -- %s", args[0], shellWords(program))
	}
	complain(dash == 0 && len(args) == 0, "-- is not followed by a COMMAND; name a worker program, or leave -- out")
	complain(!(f.scale > 0 && f.scale <= mostScale), "--scale is %v; want more than 0 and at most %d", f.scale, mostScale)
	for _, name := range f.scenarios {
		complain(!slices.Contains(scenarioNames(), name), "--scenario names %q; want %s; --scenario may be repeated", name, strings.Join(scenarioNames(), ", "))
	}
	changed := cmd.Flags().Changed
	complain(changed("scenario") && len(f.scenarios) == 0, "--scenario names no scenario; want %s", strings.Join(scenarioNames(), ", "))
	complain(f.plan != "" && len(f.scenarios) > 0, "--plan and --scenario exclude each other; leave one out")
	for _, name := range []string{"plan", "page", "history"} {
		complain(changed(name) && cmd.Flag(name).Value.String() == "", "--%s names no file; name one, or leave it out", name)
	}
	complain(changed("layer") && !slices.Contains(allLayers(), f.layer), "--layer is %q; want one of %s", f.layer, strings.Join(allLayers(), ", "))
	if len(args) > 0 {
		complain(f.layer != "", "--layer and a COMMAND exclude each other; leave one out")
	} else {
		complain(len(f.env) > 0, "--env is for a COMMAND; put one behind --, or leave --env out")
	}
	return errors.Join(errs...)
}

// chaos runs what was asked for and prints it.
func (f *chaosFlags) chaos(ctx context.Context, stdout, stderr io.Writer, command []string) error {
	cases, err := f.cases()
	if err != nil {
		return err
	}
	for f.seed == 0 {
		f.seed = rand.Uint64()
	}
	if err := f.prepare(); err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "poolproof-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	workers, err := f.workers(ctx, temp, command)
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if err != nil {
		return err
	}
	report := chaosReport{Seed: f.seed, Scale: f.scale, Layer: workers.name, Rows: []chaosRow{}, Notes: workers.notes}
	runErr := f.runAll(ctx, stderr, cases, workers, &report)
	report.Passed = runErr == nil && report.complete()
	if f.page != "" {
		runErr = errors.Join(runErr, report.writePage(f.page))
	}
	if f.asJSON {
		err = report.printJSON(stdout)
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

// prepare finds out before the runs that their results could not be written.
func (f *chaosFlags) prepare() error {
	if f.history != "" {
		if err := os.MkdirAll(f.history, 0o755); err != nil {
			return fmt.Errorf("--history: %w; name a folder that exists or can be made", err)
		}
	}
	if f.page == "" {
		return nil
	}
	page, err := os.OpenFile(f.page, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("--page: %w; name a file that can be written", err)
	}
	return page.Close()
}

// cases returns what is to be run: scenarios, or a plan, whose seed it takes if none is given.
func (f *chaosFlags) cases() ([]chaosCase, error) {
	if f.plan != "" {
		text, err := os.ReadFile(f.plan)
		if err != nil {
			return nil, fmt.Errorf("--plan: %w; name a file with a plan, as docs/chaos.md shows", err)
		}
		plan, err := faults.ParsePlan(string(text))
		if err != nil {
			return nil, fmt.Errorf("--plan: %s: %w\nSee docs/chaos.md for how plans are written", f.plan, err)
		}
		if f.seed == 0 {
			f.seed = plan.Seed
		}
		return []chaosCase{planCase(plan)}, nil
	}
	all := scenarioCases()
	if len(f.scenarios) == 0 {
		return all, nil
	}
	return slices.DeleteFunc(all, func(c chaosCase) bool { return !slices.Contains(f.scenarios, c.name) }), nil
}

// replay is the command line that runs a case again in the same way.
func (f *chaosFlags) replay(c *chaosCase, w *chaosWorkers) string {
	words := []string{"poolproof", "chaos"}
	if f.plan != "" {
		words = append(words, "--plan", f.plan)
	} else {
		words = append(words, "--scenario", c.name)
	}
	words = append(words, "--scale", fmt.Sprint(f.scale), "--seed", fmt.Sprint(f.seed))
	if w.name != layerCommand {
		return shellWords(append(words, "--layer", w.name))
	}
	for _, entry := range f.env {
		words = append(words, "--env", entry)
	}
	return shellWords(append(append(words, "--"), w.config.Command...))
}
