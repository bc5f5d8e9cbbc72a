package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/peers"
	"github.com/poolproof/poolproof/sched/instrument"
)

// rootModule is where package props is.
const rootModule = "github.com/poolproof/poolproof"

// peerModule is the name of the module that a peer is built in.
const peerModule = "peer"

// peerTest is the test of that module. The command tells it what to do, and reads what it
// writes to a file.
const peerTest = `package peer

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/poolproof/poolproof/props"
	_ "github.com/poolproof/poolproof/sched" // what is instrumented reports to it

	adapter "peer/NAME"
)

type told struct {
	Report string   // the file
	Known  []string // rules
	List   bool     // write the names of the targets and do no more
}

type message struct {
	Target string
	Result *props.Result
}

type report struct {
	target string
	out    *json.Encoder
}

func (report) Progress(string, string, int, int) {}
func (r report) Result(result props.Result)      { _ = r.out.Encode(message{r.target, &result}) }

func TestPeer(t *testing.T) {
	var told told
	if err := json.Unmarshal([]byte(os.Getenv("POOLPROOF_PEER")), &told); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(told.Report, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, target := range adapter.Targets() {
		target.Known = told.Known
		r := report{target.Name, json.NewEncoder(f)}
		target.Report = r
		if told.List {
			_ = r.out.Encode(message{Target: target.Name})
			continue
		}
		t.Run(target.Name, func(t *testing.T) { props.Verify(t, target) })
	}
}
`

// built is the test of a peer at some version.
type built struct {
	peer    peers.Peer
	version string
	test    string // the program
}

// buildPeer builds a peer at a version, in a module of its own in dir.
func (f *peersFlags) buildPeer(ctx context.Context, dir string, peer peers.Peer, version string) (*built, error) {
	b := &built{peer: peer, version: version, test: filepath.Join(dir, "peer.test")}
	source, err := f.sourceFolder()
	if err != nil {
		return nil, err
	}
	adapter, err := peers.Sources.ReadFile(peer.Name + "/" + peer.Name + ".go")
	if err != nil {
		return nil, err
	}
	modfile := "module " + peerModule + "\n\ngo 1.26.0\n"
	if source.dir != "" {
		modfile += "\nreplace " + rootModule + " => " + source.dir + "\n"
	}
	err = errors.Join(
		os.MkdirAll(filepath.Join(dir, peer.Name), 0o777),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte(modfile), 0o666),
		os.WriteFile(filepath.Join(dir, "peer_test.go"), []byte(strings.Replace(peerTest, "NAME", peer.Name, 1)), 0o666),
		os.WriteFile(filepath.Join(dir, peer.Name, peer.Name+".go"), adapter, 0o666),
	)
	if err != nil {
		return nil, err
	}
	wanted := []string{"get", rootModule + "@" + source.version}
	if peer.Module != "" {
		wanted = append(wanted, peer.Module+"@"+version)
	}
	if _, err := goIn(ctx, dir, nil, wanted...); err != nil {
		return nil, err
	}
	if _, err := goIn(ctx, dir, nil, "mod", "tidy"); err != nil {
		return nil, err
	}
	b.version = runtime.Version()
	if peer.Module != "" {
		if b.version, err = goIn(ctx, dir, nil, "list", "-m", "-f", "{{.Version}}", peer.Module); err != nil {
			return nil, err
		}
	}
	return b, f.compile(ctx, dir, b)
}

// compile compiles the test, as the flags say.
func (f *peersFlags) compile(ctx context.Context, dir string, b *built) error {
	args := []string{"test", "-c", "-o", b.test}
	var env, flags []string
	if f.race {
		flags = append(flags, "-race")
	}
	if f.instrument {
		cache, err := cacheFolder("")
		if err != nil {
			return err
		}
		prepared, err := instrument.Prepare(ctx, instrument.Config{
			Dir: dir, Packages: []string{"."}, Instrument: b.peer.Instrument, Flags: flags, Cache: cache,
		})
		if err != nil {
			return advised(err)
		}
		args = append(args, "-overlay="+prepared.Overlay)
		if prepared.Work != "" {
			env = append(env, "GOWORK="+prepared.Work)
		}
	}
	_, err := goIn(ctx, dir, env, slices.Concat(args, flags, []string{"."})...)
	return err
}

// goIn runs the go command in dir, outside of any workspace unless env says so, and returns
// what it prints.
func goIn(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOWORK=off"), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("interrupted: %w", context.Cause(ctx))
	case err != nil:
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// source is where package props comes from: a folder, or a version.
type source struct{ dir, version string }

// sourceFolder finds the source of this command: the folder that --source names, the
// version it was installed from, or the folder that it was compiled in.
func (f *peersFlags) sourceFolder() (source, error) {
	dir := f.source
	if dir == "" {
		info, ok := debug.ReadBuildInfo()
		if ok {
			for _, dep := range info.Deps {
				if dep.Path == rootModule && dep.Replace == nil && dep.Version != "" && dep.Version != "(devel)" {
					return source{version: dep.Version}, nil
				}
			}
		}
		if _, file, _, ok := runtime.Caller(0); ok {
			dir = filepath.Join(filepath.Dir(file), "..", "..")
		}
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "props", "verify.go"))
	}
	if err != nil {
		return source{}, fmt.Errorf("the source of poolproof is not where this command was compiled: %w\nName its folder with --source", err)
	}
	return source{dir, "v0.0.0"}, nil
}
