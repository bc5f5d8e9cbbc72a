package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
	"github.com/poolproof/poolproof/props"
)

// The command runs itself again for each layer, as a test binary, so that a hang or a
// panic in one is a result like any other; and, as a worker program, for the Go workers.
const (
	roleVariable = "POOLPROOF_ROLE"
	roleLayer    = "layer"
	roleWorker   = "worker"
)

// The descriptors that a layer's process is given beside the usual three.
const (
	reportFD   = 3 // it writes a message a line
	lifelineFD = 4 // at its end of file the command is gone
)

// message is what a layer's process reports.
type message struct {
	Progress *progress     `json:"progress,omitempty"`
	Result   *props.Result `json:"result,omitempty"`
	Cost     *cost         `json:"cost,omitempty"`
}

type progress struct {
	Machine string `json:"machine"`
	Subtest string `json:"subtest"`
	Done    int    `json:"done"`
	Asked   int    `json:"asked"`
}

// runWorker is the program of the Go workers.
func runWorker() { worker.Main(worker.Demo(nil), worker.DemoOptions()...) }

// The kinds of layers.
const (
	kindMemory  = "memory"
	kindWire    = "wire"
	kindProcess = "process"
)

// layerSpec says what a layer's process does. It is its only argument, as JSON.
type layerSpec struct {
	Kind    string   `json:"kind"`
	Command []string `json:"command,omitempty"`
	Dir     string   `json:"dir,omitempty"`
	Env     []string `json:"env,omitempty"`
	Checks  int      `json:"checks"`
	Seed    uint64   `json:"seed"`
}

// subtest names a subtest of a machine.
type subtest struct{ machine, name string }

// subtests lists what a layer must report, in order.
func (s *layerSpec) subtests() []subtest {
	all := []subtest{{"full", "Sequential"}, {"full", "Progress"}}
	if s.Kind == kindProcess {
		return append([]subtest{{"worker", "Protocol"}}, all...)
	}
	all = append(all, subtest{"full", "Accounting"}, subtest{"full", "Scheduled"}, subtest{"full", "Race"})
	if s.Kind == kindWire {
		return all
	}
	return append(all, subtest{"full", "Coverage"},
		subtest{"generic", "Sequential"}, subtest{"generic", "Progress"}, subtest{"generic", "Accounting"},
		subtest{"generic", "Scheduled"}, subtest{"generic", "Race"})
}

// runLayer verifies one layer and reports to reportFD. It does not return if it gets as
// far as the tests: they end the process.
func runLayer(role string, args []string, stderr io.Writer) int {
	var spec layerSpec
	if role != roleLayer || len(args) != 1 || json.Unmarshal([]byte(args[0]), &spec) != nil {
		fmt.Fprintf(stderr, "poolproof: %s=%s is for the command itself; unset it\n", roleVariable, role)
		return exitCannot
	}
	syscall.CloseOnExec(reportFD)
	syscall.CloseOnExec(lifelineFD)
	// A terminal interrupts the command and this process alike; the command decides. Taken,
	// not ignored, since workers would inherit that.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	go func() {
		_, _ = os.NewFile(lifelineFD, "lifeline").Read(make([]byte, 1))
		os.Exit(exitCannot)
	}()
	test, err := layerTest(&spec, os.NewFile(reportFD, "report"))
	if err != nil {
		fmt.Fprintf(stderr, "poolproof: layer %s: %v\n", spec.Kind, err)
		return exitCannot
	}
	os.Args = []string{
		os.Args[0], "-test.timeout=0", "-rapid.nofailfile",
		"-rapid.checks=" + strconv.Itoa(spec.Checks), "-rapid.seed=" + strconv.FormatUint(spec.Seed, 10),
	}
	testing.Main(func(_, _ string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: spec.Kind, F: test}}, nil, nil)
	return exitCannot // not reached
}

// reporter passes on what props reports. A subtest in which a worker was faulty fails.
type reporter struct {
	out    *json.Encoder
	faults *workerFaults
}

func (r *reporter) Progress(machine, subtest string, done, asked int) {
	if done%max(1, asked/100) == 0 {
		_ = r.out.Encode(message{Progress: &progress{machine, subtest, done, asked}})
	}
}

func (r *reporter) Result(result props.Result) {
	result.Failed = result.Failed || r.faults.any()
	_ = r.out.Encode(message{Result: &result})
}

// layerTest returns the test that verifies a layer and reports to out. layerSpec.subtests
// lists what it does.
func layerTest(spec *layerSpec, out io.Writer) (func(*testing.T), error) {
	workers := &processes{faults: newFaults()}
	report := &reporter{json.NewEncoder(out), workers.faults}
	target := props.PoolTarget{Name: spec.Kind, Open: props.OpenPool, Report: report}
	switch spec.Kind {
	case kindMemory:
	case kindWire:
		workers.cfg = wireConfig()
		target.Backend = workers
	case kindProcess:
		workers.cfg = process.Config{Command: spec.Command, Dir: spec.Dir, Env: spec.Env}
		target.Backend = workers
		target.RealTime = true
	default:
		return nil, fmt.Errorf("kind %q is unknown", spec.Kind)
	}
	return func(t *testing.T) {
		if spec.Kind == kindProcess && !t.Run("Protocol", func(t *testing.T) {
			verifyProtocol(t, workers.cfg, spec.Checks, report)
		}) {
			t.Fatal("the worker program breaks the protocol; with such workers no pool is verified")
		}
		props.VerifyPool(t, target)
		if err := workers.faults.err(); err != nil {
			t.Error(err)
		}
		if spec.Kind == kindMemory {
			t.Run("Coverage", func(t *testing.T) { cover(t, target, spec) })
			props.Verify(t, genericTarget(report))
		}
		if !t.Failed() {
			took, err := costOf(t.Context(), spec.Kind, workers.cfg)
			if err != nil {
				t.Fatal("taking the cost of a call: ", err)
			}
			_ = report.out.Encode(message{Cost: took})
		}
	}, nil
}

// cover counts how much of the model random checks reach on a small configuration: two
// workers, two sessions and three clients, with all that can happen to them.
func cover(t *testing.T, target props.PoolTarget, spec *layerSpec) {
	begin := time.Now()
	target.Config = props.CoverageConfig()
	coverage, err := model.NewCoverage(target.Config, model.Bounds{})
	if err != nil {
		t.Fatal(err)
	}
	result := props.Result{Machine: "full", Subtest: "Coverage", Asked: spec.Checks}
	defer func() {
		result.Reached, result.Existing = coverage.Reached(), coverage.Total()
		result.Failed, result.Elapsed = t.Failed(), time.Since(begin)
		target.Report.Result(result)
	}()
	result.Executed, result.Operations = props.Cover(t, target, coverage, spec.Checks, spec.Seed)
}

// wireConfig is that of workers which speak the protocol over a pipe in memory.
func wireConfig() process.Config {
	return process.Config{Dial: func(context.Context, pool.WorkerID) (io.ReadWriteCloser, error) {
		host, far := net.Pipe()
		go func() {
			defer far.Close()
			_ = worker.Serve(context.Background(), far, worker.Demo(func(int) { far.Close() }), worker.DemoOptions()...)
		}()
		return host, nil
	}}
}
