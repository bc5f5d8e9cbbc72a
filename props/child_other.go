//go:build !linux

package props

import (
	"errors"
	"os"
	"syscall"
)

// genChildren says whether targets can be run in child processes here: only Linux ends a
// child with its parent in any case.
const genChildren = false

func genChildAttr() *syscall.SysProcAttr { return nil }

var genQuit = os.Interrupt

func genMapAhead() ([]byte, error) { return nil, errors.ErrUnsupported }
