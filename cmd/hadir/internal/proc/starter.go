package proc

import "runtime"

// starter starts processes on a thread that lives as long as the Set. The kernel
// takes the death of the thread that started a child for the death of the parent,
// and Go ends threads when it likes.
func (s *Set) starter() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		select {
		case st := <-s.starts:
			st.done <- st.cmd.Start()
		case <-s.ended:
			return
		}
	}
}
