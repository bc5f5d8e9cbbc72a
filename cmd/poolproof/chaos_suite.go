package main

import (
	"context"
	"fmt"
	"time"

	"github.com/poolproof/poolproof/faults"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
)

// chaosCase is something to run: a scenario, or a plan from a file.
type chaosCase struct {
	name  string
	about string
	// unfit says why the case cannot be run with such workers; empty: it can.
	unfit  func(w *chaosWorkers) string
	config func(w *chaosWorkers, scale float64, seed uint64) faults.RunConfig
}

// chaosWorkers are the workers that are harmed.
type chaosWorkers struct {
	name    string // layerPython and the like
	layer   faults.Layer
	config  process.Config // of layers wire and process
	methods []string       // that a worker program of the user's announces; nil: it has all
	notes   []string
}

// chaosSize is how many workers a plan from a file is run with.
const chaosSize = 5

// planCase runs a plan under a load that leaves some capacity unused.
func planCase(plan *faults.Plan) chaosCase {
	name := plan.Name
	if name == "" {
		name = "plan"
	}
	return chaosCase{
		name: name, about: "The plan in the file, at 200 calls a second, a third of them for one of 20 sessions.",
		unfit: func(*chaosWorkers) string { return "" },
		config: func(w *chaosWorkers, _ float64, seed uint64) faults.RunConfig {
			p := *plan
			p.Seed = seed
			return faults.RunConfig{
				System: w.system(name, chaosSize), Plan: p,
				Load: faults.Load{Rate: 200, Sessions: 20, SessionShare: 1.0 / 3},
			}
		},
	}
}

// system describes a pool of so many workers.
func (w *chaosWorkers) system(name string, size int) faults.SystemConfig {
	cfg := faults.SystemConfig{
		Name: name, Layer: w.layer,
		Pool: pool.Config[faults.Worker]{MinSize: size, MaxSize: size, SessionTTL: time.Minute},
	}
	if w.layer != faults.Memory {
		config := w.config
		cfg.Workers = &config
	}
	return cfg
}

// workers returns what is to be harmed. A worker program of the user's is tried first.
func (f *chaosFlags) workers(ctx context.Context, temp string, command []string) (*chaosWorkers, error) {
	if len(command) > 0 {
		spec := &layerSpec{Kind: kindProcess, Command: command, Env: f.env}
		methods, err := tryWorker(ctx, "chaos", spec)
		if err != nil {
			return nil, err
		}
		return &chaosWorkers{
			name: layerCommand, layer: faults.Process, methods: append([]string{}, methods...),
			config: process.Config{Command: command, Env: f.env},
		}, nil
	}
	name := f.layer
	var notes []string
	if name == "" {
		name = layerPython
		if _, err := python.Command(ctx); err != nil {
			name = layerGo
			notes = []string{fmt.Sprintf("the workers are Go's: %v; install python3 to harm Python's", err)}
		}
	}
	spec, err := newSpec(ctx, temp, name)
	if err != nil {
		return nil, err
	}
	w := &chaosWorkers{name: name, notes: notes}
	switch spec.Kind {
	case kindMemory:
		w.layer = faults.Memory
	case kindWire:
		w.layer, w.config = faults.Wire, wireConfig()
	default:
		w.layer, w.config = faults.Process, process.Config{Command: spec.Command, Env: spec.Env}
	}
	return w, nil
}
