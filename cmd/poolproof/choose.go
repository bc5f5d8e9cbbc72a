package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
)

// layer is one way to make workers.
type layer struct {
	name string
	spec layerSpec
	dir  string // where its process runs; empty: where the command does
}

// The layers' names. A worker program of the user's is a layer too, the only one then.
const (
	layerMemory  = "memory"
	layerWire    = "wire"
	layerGo      = "go"
	layerPython  = "python"
	layerCommand = "command"
)

func allLayers() []string { return []string{layerMemory, layerWire, layerGo, layerPython} }

// choose returns the layers to verify, and notes on those left out. temp is for their
// files.
func (f *verifyFlags) choose(ctx context.Context, temp string, command []string) (layers []layer, notes []string, err error) {
	if len(command) > 0 {
		return []layer{{name: layerCommand, spec: layerSpec{
			Kind: kindProcess, Command: command, Env: f.env, Checks: f.processChecks, Seed: f.seed,
		}}}, nil, nil
	}
	names := f.layers
	if len(names) == 0 {
		names = allLayers()
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue
		}
		spec, err := newSpec(ctx, temp, name)
		switch {
		case err != nil && name == layerPython && len(f.layers) == 0:
			notes = append(notes, fmt.Sprintf("python is left out: %v; install python3 to have it verified", err))
			continue
		case err != nil:
			return nil, nil, err
		}
		spec.Seed, spec.Checks = f.seed, f.checks
		if spec.Kind == kindProcess {
			spec.Checks = f.processChecks
		}
		// Not where the command runs, so that no file there is taken for a test's.
		layers = append(layers, layer{name: name, spec: *spec, dir: temp})
	}
	return layers, notes, nil
}

// newSpec returns how to make the workers of a layer.
func newSpec(ctx context.Context, temp, name string) (*layerSpec, error) {
	switch name {
	case layerMemory:
		return &layerSpec{Kind: kindMemory}, nil
	case layerWire:
		return &layerSpec{Kind: kindWire}, nil
	case layerGo:
		self, err := os.Executable()
		return &layerSpec{Kind: kindProcess, Command: []string{self}, Env: []string{roleVariable + "=" + roleWorker}}, err
	case layerPython:
		// The demo needs the standard library alone, so Python may start the fast way.
		command, err := python.Command(ctx, "-S", "-E", "-u", filepath.Join(temp, python.DemoFile))
		if err == nil {
			err = python.Write(temp)
		}
		if err != nil {
			return nil, fmt.Errorf("layer python needs python3: %w", err)
		}
		return &layerSpec{Kind: kindProcess, Command: command}, nil
	}
	return nil, fmt.Errorf("--layer names %q; want %s; --layer may be repeated", name, strings.Join(allLayers(), ", "))
}

// tryWorker starts and stops the program once, so that one which is no worker is not taken
// for a finding, and returns the methods that it announces. How it stops does not matter
// here. command is that of this program that is to use it.
func tryWorker(ctx context.Context, command string, spec *layerSpec) (methods []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, pool.DefaultStartTimeout)
	defer cancel()
	w, err := process.Start(ctx, process.Config{Command: spec.Command, Dir: spec.Dir, Env: spec.Env}, 1)
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the worker program %q cannot be run: %w\nName a program in PATH, or write its path, as in: poolproof %s -- ./worker", spec.Command[0], err, command)
	case err != nil:
		return nil, fmt.Errorf("the worker program %q does not answer hello: %w\nIt must do so within %v, as docs/protocol.md says. It is given PATH and what --env names, nothing else",
			spec.Command[0], err, pool.DefaultStartTimeout)
	}
	_ = w.Stop(ctx)
	return w.Methods(), nil
}

// replay is the command line that verifies the layer again in the same way.
func (l *layer) replay() string {
	words := []string{"poolproof", "verify", "--seed", fmt.Sprint(l.spec.Seed)}
	if l.spec.Kind == kindProcess {
		words = append(words, "--process-checks", fmt.Sprint(l.spec.Checks))
	} else {
		words = append(words, "--checks", fmt.Sprint(l.spec.Checks))
	}
	if l.name != layerCommand {
		return shellWords(append(words, "--layer", l.name))
	}
	for _, entry := range l.spec.Env {
		words = append(words, "--env", entry)
	}
	return shellWords(append(append(words, "--"), l.spec.Command...))
}

// shellWords writes words for a shell.
func shellWords(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = word
		plain := func(r rune) bool {
			return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./=:,+@%", r)
		}
		if word == "" || strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
