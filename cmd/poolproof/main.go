// Command poolproof checks pools. See README.md at the root of the repository, or
// run poolproof help.
//
// Exit codes: 0 everything that was asked for was executed and passed; 1 a check failed
// or was not executed in full; 2 the command could not do its work: wrong flags, a worker
// program that does not start, no memory.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitPassed = 0
	exitFailed = 1
	exitCannot = 2
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := rootCommand(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitPassed
	case errors.Is(err, errFailed):
		return exitFailed
	}
	fmt.Fprintf(stderr, "poolproof: %v\n", err)
	return exitCannot
}

func rootCommand(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "poolproof",
		Short: "Check worker pools against a reference state machine",
		Long: `Check worker pools against a reference state machine.

Exit codes: 0 all passed and all executed; 1 a check failed or was not executed in
full; 2 the command could not do its work.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nRun '%s --help' for the flags", err, cmd.CommandPath())
	})
	root.AddCommand(verifyCommand(), exploreCommand())
	return root
}
