//go:build !linux

package worker

import "errors"

func claimMemory(int, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func (s *server) unmap() {}
