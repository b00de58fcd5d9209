package transport

import (
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// stoppingLogs is the log part of a backend under failStop. It sits below the
// cache, so that cached reads cost no timer.
type stoppingLogs struct {
	stop    *failStop
	backend LogBackend
	step    uint64 // entries per DeleteRange of the backend
	written atomic.Uint64
}

var _ raft.LogStore = (*stoppingLogs)(nil)

func (s *stoppingLogs) FirstIndex() (index uint64, err error) {
	err = s.stop.run("first_index", func() error { index, err = s.backend.FirstIndex(); return err })
	return index, err
}

func (s *stoppingLogs) LastIndex() (index uint64, err error) {
	err = s.stop.run("last_index", func() error { index, err = s.backend.LastIndex(); return err })
	return index, err
}

func (s *stoppingLogs) GetLog(index uint64, log *raft.Log) error {
	return s.stop.run("get_log", func() error { return s.backend.GetLog(index, log) })
}

func (s *stoppingLogs) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

func (s *stoppingLogs) StoreLogs(logs []*raft.Log) error {
	err := s.stop.run("store_logs", func() error { return s.backend.StoreLogs(logs) })
	if err == nil {
		for _, l := range logs {
			s.written.Add(uint64(len(l.Data)))
		}
	}
	return err
}

// DeleteRange deletes in steps. raft deletes either a tail that
// conflicts with the leader or a head that a snapshot covers. A tail goes from
// its end: after a crash the rest is still one unbroken log, as if fewer
// entries had conflicted; from its front it would leave a gap with stale
// entries behind it. A head goes from its front, for the same reason. A range
// in the middle is no business of raft's and is deleted in one transaction.
func (s *stoppingLogs) DeleteRange(lo, hi uint64) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	tail, head := hi >= last, lo <= first
	lo, hi = max(lo, first), min(hi, last)
	switch {
	case last == 0 || lo > hi:
		return nil
	case tail:
		for hi-lo >= s.step {
			if err := s.deleteOnce(hi-s.step+1, hi); err != nil {
				return err
			}
			hi -= s.step
		}
	case head:
		for hi-lo >= s.step {
			if err := s.deleteOnce(lo, lo+s.step-1); err != nil {
				return err
			}
			lo += s.step
		}
	}
	return s.deleteOnce(lo, hi)
}

func (s *stoppingLogs) deleteOnce(lo, hi uint64) error {
	return s.stop.run("delete_range", func() error { return s.backend.DeleteRange(lo, hi) })
}
