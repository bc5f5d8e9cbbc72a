//go:build !linux

package faults

import (
	"errors"

	"github.com/poolproof/poolproof/pool/process"
)

// processHarms are for Linux alone, as worker processes are.
func processHarms() harms[processHarm] { return nil }

// gateState is never asked here.
func gateState(int, string) (string, error) { return "", errors.ErrUnsupported }

func makePipe(string) error { return errors.ErrUnsupported }

func crash(*process.Worker) error { return errors.ErrUnsupported }
