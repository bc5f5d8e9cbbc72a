//go:build !linux

package process

import (
	"errors"
	"os"
)

// sharedMemory is never made here: there are no processes to share it with.
type sharedMemory struct{ size int }

func newSharedMemory(int) (*sharedMemory, error) { return nil, errors.ErrUnsupported }

func (*sharedMemory) inherited() []*os.File { return nil }
func (*sharedMemory) closeFile()            {}
func (*sharedMemory) unmap()                {}

func (*sharedMemory) put([]byte) (int, bool) { return 0, false }

func (*sharedMemory) workerRange([]byte) (int, int, error) { return 0, 0, errors.ErrUnsupported }

func (*sharedMemory) copyOut([]byte, int, int) ([]byte, error) { return nil, errors.ErrUnsupported }
