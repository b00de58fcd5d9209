package export_test

import (
	"io"
	"os"
	"os/exec"
	"time"

	"hadir/tests/system/harness"
)

// osProcess is this program as an exporter. It ends when its standard input does,
// so it never outlives the tests.
type osProcess struct {
	*exec.Cmd
	in  io.Closer
	out *harness.Output
}

func startProcess(env string) (*osProcess, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &osProcess{Cmd: exec.Command(program), out: &harness.Output{}}
	p.Env = append(os.Environ(), env)
	p.Stdout, p.Stderr = p.out, p.out
	p.WaitDelay = time.Second
	if p.in, err = p.StdinPipe(); err != nil {
		return nil, err
	}
	return p, p.Start()
}

// kill ends it as a power cut would.
func (p *osProcess) kill() {
	p.Process.Kill() //nolint:errcheck // it may be dead
	p.Wait()         //nolint:errcheck // killed
}
