package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
)

// verifyFlags say what to verify.
type verifyFlags struct {
	checks        int
	processChecks int
	seed          uint64
	layers        []string
	env           []string
	asJSON        bool
}

// layer is one way to make workers.
type layer struct {
	name string
	spec layerSpec
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

With a COMMAND only that worker program is verified, as real processes; docs/protocol.md
says what it must speak. It is started with PATH and what --env names, nothing else.`,
		Example: "  poolproof verify\n  poolproof verify --checks 20000 --layer memory\n  poolproof verify -- python3 worker.py",
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() < 0 && len(args) > 0 {
				return fmt.Errorf("%q is no flag; put a worker program behind --, as in: poolproof verify -- %s", args[0], args[0])
			}
			return verify(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), &f, args)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.checks, "checks", 500, "random checks of each subtest on the layers in memory")
	flags.IntVar(&f.processChecks, "process-checks", 20, "random checks of each subtest with real processes")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of all random choices; 0 draws one")
	flags.StringSliceVar(&f.layers, "layer", nil, "verify these layers only: memory, wire, go, python")
	flags.StringSliceVar(&f.env, "env", nil, "environment of COMMAND: KEY=value, or KEY to hand on")
	flags.BoolVar(&f.asJSON, "json", false, "print the results as JSON")
	return cmd
}

func verify(ctx context.Context, stdout, stderr io.Writer, f *verifyFlags, command []string) error {
	if f.checks < 1 || f.processChecks < 1 {
		return fmt.Errorf("--checks is %d and --process-checks is %d; both must be at least 1", f.checks, f.processChecks)
	}
	if f.seed == 0 {
		f.seed = rand.Uint64()
	}
	temp, err := os.MkdirTemp("", "poolproof-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	layers, notes, err := f.choose(ctx, temp, command)
	if err != nil {
		return err
	}
	show := newDisplay(stderr)
	fmt.Fprintf(stderr, "seed %d\n", f.seed)
	var report verification
	report.Seed, report.Notes = f.seed, notes
	for i := range layers {
		rows, failure := runLayerProcess(ctx, &layers[i], show)
		if ctx.Err() != nil {
			show.close()
			return fmt.Errorf("interrupted: %w", context.Cause(ctx))
		}
		report.Rows = append(report.Rows, rows...)
		if failure != "" {
			report.Failures = append(report.Failures, failure)
		}
	}
	show.close()
	report.Passed = report.complete(layers)
	if f.asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else {
		err = report.print(stdout)
	}
	if err == nil && !report.Passed {
		return errFailed
	}
	return err
}

// choose returns the layers to verify, and notes on those left out.
func (f *verifyFlags) choose(ctx context.Context, temp string, command []string) (layers []layer, notes []string, err error) {
	if len(command) > 0 {
		if len(f.layers) > 0 {
			return nil, nil, errors.New("--layer and a COMMAND exclude each other; leave one out")
		}
		spec := layerSpec{Kind: "process", Command: command, Env: f.env}
		if err := tryWorker(ctx, &spec); err != nil {
			return nil, nil, err
		}
		return f.planned([]layer{{"command", spec}}), nil, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	all := []layer{
		{"memory", layerSpec{Kind: "memory"}},
		{"wire", layerSpec{Kind: "wire"}},
		{"go", layerSpec{Kind: "process", Command: []string{self}, Env: []string{roleVariable + "=" + roleWorker}}},
	}
	if spec, err := pythonLayer(ctx, temp); err == nil {
		all = append(all, layer{"python", *spec})
	} else {
		notes = append(notes, fmt.Sprintf("python is left out: %v; install python3 to have it verified", err))
	}
	if len(f.layers) == 0 {
		return f.planned(all), notes, nil
	}
	for _, name := range f.layers {
		found := false
		for _, l := range all {
			if l.name == name {
				layers, found = append(layers, l), true
			}
		}
		if !found {
			return nil, nil, fmt.Errorf("--layer %s is not to be had; want memory, wire, go or python (with python3 installed)", name)
		}
	}
	return f.planned(layers), nil, nil
}

// planned sets how much is checked on each layer.
func (f *verifyFlags) planned(layers []layer) []layer {
	for i := range layers {
		layers[i].spec.Seed, layers[i].spec.Checks = f.seed, f.checks
		if layers[i].spec.Kind == "process" {
			layers[i].spec.Checks = f.processChecks
		}
	}
	return layers
}

// pythonLayer writes the demo worker to temp and returns how to run it.
func pythonLayer(ctx context.Context, temp string) (*layerSpec, error) {
	if err := python.Write(temp); err != nil {
		return nil, err
	}
	demo := filepath.Join(temp, "demo.py")
	if err := os.WriteFile(demo, []byte(python.Demo()), 0o600); err != nil {
		return nil, err
	}
	command, err := python.Command(ctx, demo)
	if err != nil {
		return nil, err
	}
	return &layerSpec{Kind: "process", Command: command, Dir: temp}, nil
}

// tryWorker starts and stops the program once, so that one which cannot be started is not
// taken for a finding.
func tryWorker(ctx context.Context, spec *layerSpec) error {
	ctx, cancel := context.WithTimeout(ctx, pool.DefaultStartTimeout)
	defer cancel()
	w, err := process.Start(ctx, process.Config{Command: spec.Command, Dir: spec.Dir, Env: spec.Env}, 1)
	if err != nil {
		return fmt.Errorf("the worker program %q does not start: %w\nIt must answer hello as docs/protocol.md says", spec.Command[0], err)
	}
	return w.Stop(ctx)
}

// runLayerProcess verifies a layer in a process of its own and returns what it reported
// and, if it failed, its output.
func runLayerProcess(ctx context.Context, l *layer, show *display) (rows []row, failure string) {
	begin := time.Now()
	rows, output, err := superviseLayer(ctx, l, show)
	if err == nil {
		return rows, ""
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		output += "\n" + err.Error()
	}
	if len(rows) == 0 || rows[len(rows)-1].Verdict == "passed" { // it ended without a verdict
		rows = append(rows, row{Layer: l.name, Subtest: "(ended early)", Verdict: "FAILED", Seconds: time.Since(begin).Seconds()})
	}
	return rows, fmt.Sprintf("layer %s:\n%s\nRepeat it with: poolproof verify --layer %s --checks %d --process-checks %[4]d --seed %d",
		l.name, output, l.name, l.spec.Checks, l.spec.Seed)
}
