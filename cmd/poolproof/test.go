package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/poolproof/poolproof/sched/instrument"
	"github.com/poolproof/poolproof/sched/rewrite"
)

// testFlags say what to test.
type testFlags struct {
	instrument []string
	cache      string
}

func testCommand() *cobra.Command {
	var f testFlags
	cmd := &cobra.Command{
		Use:   "test [-instrument PKG,...] PACKAGES [-- GO TEST FLAGS]",
		Short: "Run go test with some packages under the scheduler's control",
		Long: `Run go test with some packages under the scheduler's control: every lock, atomic
operation, channel operation, select and go statement of theirs is a scheduling point for
tests that call sched.Run. The packages are copied, rewritten and put in place of the
originals for this build alone: those of your module and the standard library by go test's
-overlay, those in the module cache by a go.work for this build. No source is changed, and
positions in messages and stacks are those of the originals.

Packages that pass types of sync to each other must be instrumented together. What cannot
be instrumented, such as cgo, is refused with its file and line.

What stands after -- goes to go test: its flags, such as -run, -tags or -count, and those of
the test binary, such as -rapid.checks.

Exit codes: 0 the tests passed; 1 a test failed; 2 they could not be built, or the command
was interrupted.`,
		Example: `  poolproof test -instrument ./pool ./props -- -run Scheduled -rapid.checks=5000
  poolproof test -instrument github.com/jackc/puddle/v2,golang.org/x/sync/semaphore ./peers`,
		RunE: func(cmd *cobra.Command, args []string) error {
			patterns, flags := args, []string(nil)
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				patterns, flags = args[:at], args[at:]
			}
			return goTest(cmd.Context(), &f, patterns, flags, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringSliceVar(&f.instrument, "instrument", nil, "the packages to instrument: import paths, folders or patterns with ...")
	cmd.Flags().StringVar(&f.cache, "cache", "", "the folder for rewritten copies (default poolproof in the user's cache)")
	return cmd
}

// goTest prepares the build and runs go test on it.
func goTest(ctx context.Context, f *testFlags, patterns, flags []string, stdout, stderr io.Writer) error {
	if len(patterns) == 0 {
		return errors.New("no packages to test\nRun 'poolproof test --help' for how to name them, such as ./pool/... for a folder and all below it")
	}
	build, err := buildFlags(flags)
	if err != nil {
		return err
	}
	args := append([]string{"test"}, patterns...)
	env := os.Environ()
	if len(f.instrument) > 0 {
		if f.cache, err = cacheFolder(f.cache); err != nil {
			return err
		}
		prepared, err := instrument.Prepare(ctx, instrument.Config{
			Packages: patterns, Instrument: f.instrument, Flags: build, Cache: f.cache,
		})
		if err != nil {
			return advised(err)
		}
		args = slices.Concat([]string{"test", "-overlay=" + prepared.Overlay}, patterns)
		if prepared.Work != "" {
			env = append(env, "GOWORK="+prepared.Work)
		}
	}
	cmd := exec.CommandContext(ctx, "go", append(args, flags...)...)
	cmd.Env = env
	seen := &scan{to: stdout}
	cmd.Stdout, cmd.Stderr = seen, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return verdictOf(ctx, cmd.Run(), seen)
}

// verdictOf says what a run of go test came to.
func verdictOf(ctx context.Context, err error, seen *scan) error {
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("go test: %w", err)
	case seen.unbuilt:
		return errors.New("the tests cannot be built, see above; if they can be without -instrument, " +
			"instrument the packages together that pass types of sync to each other")
	case exit.ExitCode() != 1:
		return errors.New("go test could not do its work, see above")
	}
	return errFailed
}

// advised adds to an error what to do next, if it does not say so itself.
func advised(err error) error {
	if errors.Is(err, rewrite.ErrRefused) || errors.Is(err, instrument.ErrNothing) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w\nSee 'poolproof test --help'; 'go vet' of the packages shows whether they compile as they are", err)
}

// cacheFolder returns the folder for the copies.
func cacheFolder(name string) (string, error) {
	if name == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no folder for the rewritten copies: %w; name one with --cache", err)
		}
		name = filepath.Join(user, "poolproof")
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", fmt.Errorf("--cache: %w", err)
	}
	return abs, nil
}

// buildFlags returns those of go test's flags that change what is compiled.
func buildFlags(flags []string) ([]string, error) {
	var build []string
	for i := 0; i < len(flags); i++ {
		name, _, hasValue := strings.Cut(strings.TrimLeft(flags[i], "-"), "=")
		switch name {
		case "args":
			return build, nil
		case "overlay", "modfile":
			return nil, fmt.Errorf("-%s cannot be used: the instrumented build has one of its own; leave it out", name)
		case "race", "msan", "asan":
			build = append(build, flags[i])
		case "tags", "mod", "gcflags", "compiler", "pgo":
			build = append(build, flags[i])
			if !hasValue && i+1 < len(flags) {
				i++
				build = append(build, flags[i])
			}
		}
	}
	return build, nil
}

// scan passes on what go test prints and notices that something was not built.
type scan struct {
	to      io.Writer
	line    []byte
	unbuilt bool
}

func (s *scan) Write(p []byte) (int, error) {
	s.line = append(s.line, p...)
	for {
		line, rest, ok := bytes.Cut(s.line, []byte("\n"))
		if !ok {
			break
		}
		for _, mark := range []string{"[build failed]", "[setup failed]"} {
			if bytes.HasPrefix(line, []byte("FAIL\t")) && bytes.HasSuffix(line, []byte(mark)) {
				s.unbuilt = true
			}
		}
		s.line = rest
	}
	return s.to.Write(p)
}
