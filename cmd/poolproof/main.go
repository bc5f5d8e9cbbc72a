// Command poolproof checks pools. See README.md at the root of the repository, or
// run poolproof help.
//
// Exit codes: 0 everything that was asked for was executed and passed; 1 a check failed
// or was not executed in full; 2 the command could not do its work: wrong flags, a worker
// program that does not start, an interrupt, nobody to read the output; 3 a history was
// judged without a result.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitPassed  = 0
	exitFailed  = 1
	exitCannot  = 2
	exitUnknown = 3
)

// errFailed reports that a check failed; the output has said so already.
var errFailed = errors.New("failed")

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run does what the command line says and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	switch role := os.Getenv(roleVariable); role {
	case "":
	case roleWorker:
		runWorker()
		return exitPassed
	default:
		return runLayer(role, args, stderr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the command at once
	// With SIGPIPE taken, a write that nobody reads returns an error and all is tidied up.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	root := rootCommand(stdout, stderr)
	root.SetArgs(twoDashes(args))
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitPassed
	case errors.Is(err, errFailed):
		return exitFailed
	case errors.Is(err, errUnknown):
		return exitUnknown
	}
	fmt.Fprintf(stderr, "poolproof: %v\n", err)
	return exitCannot
}

// twoDashes lets long flags be written with one dash, as Go's own commands have them.
func twoDashes(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if len(arg) > 2 && arg[0] == '-' && arg[1] >= 'a' && arg[1] <= 'z' {
			args[i] = "-" + arg
		}
	}
	return args
}

func rootCommand(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "poolproof",
		Short: "Check worker pools against a reference state machine",
		Long: `Check worker pools against a reference state machine.

Exit codes: 0 all passed and all executed; 1 a check failed or was not executed in
full; 2 the command could not do its work, or was interrupted; 3 a history was judged
without a result.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%q is no command; want verify, explore, test, judge, peers or chaos\nRun 'poolproof help' for what they do", args[0])
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nRun '%s --help' for the flags", err, cmd.CommandPath())
	})
	root.AddCommand(verifyCommand(), exploreCommand(), testCommand(), judgeCommand(), peersCommand(), chaosCommand())
	return root
}
