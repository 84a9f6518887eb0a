// Package swtpm runs Debian's swtpm for tests: a TPM 2.0 in software that is not
// ours. It puts the TPM behind the protocol by which the TSS libraries of other
// languages reach the simulator of the reference implementation, so that they need
// no TPM in the machine.
//
// It knows of commands only that they are bytes; what they mean is the business of
// who sends them.
package swtpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// Missing says which program is missing, and how to get it; "" when none is.
func Missing() string {
	if _, err := exec.LookPath("swtpm"); err != nil {
		return "swtpm is missing: apt-get install swtpm"
	}
	return ""
}

const (
	startTimeout   = 30 * time.Second
	commandTimeout = 60 * time.Second // a key of RSA may take its time on a busy machine
	maxMessage     = 4096             // bytes of a command or of a response, TPM_PT_MAX_COMMAND_SIZE
	headerBytes    = 10               // of either: tag, size, code
)

// TPM is a running TPM with a seed of its own. It is safe for concurrent use: one
// command is under way at a time.
type TPM struct {
	dir string

	mu  sync.Mutex // of a command, and of the process
	run *process

	lists     sync.Mutex // of what follows
	listeners []net.Listener
	conns     map[net.Conn]struct{}
	closed    bool
	serving   sync.WaitGroup
}

// process is a TPM from power on to power off.
type process struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	ended  chan struct{}
}

// Start makes a TPM and gives it power. Who calls it must Close it.
func Start() (*TPM, error) {
	dir, err := os.MkdirTemp("", "swtpm") // short: the name of a socket has 107 bytes at most
	if err != nil {
		return nil, err
	}
	t := &TPM{dir: dir, conns: map[net.Conn]struct{}{}}
	if err := t.on(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return t, nil
}

// on gives the TPM power and returns when it answers.
func (t *TPM) on() error {
	p := &process{ended: make(chan struct{})}
	p.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+t.dir,
		"--server", "type=unixio,path="+t.socket(), "--ctrl", "type=unixio,path="+filepath.Join(t.dir, "control"),
		"--flags", "not-need-init,startup-clear")
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start swtpm: %w", err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // its status says that it was killed
	}()
	t.run = p
	for end := time.Now().Add(startTimeout); ; {
		_, err := t.command(getRandom)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("swtpm ended: %s", p.output.String())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			p.off()
			return fmt.Errorf("swtpm does not answer: %w", err)
		}
	}
}

// off takes the power away: what the TPM stores has been written.
func (p *process) off() {
	_ = p.cmd.Process.Kill() // that it has ended already is no fault here
	<-p.ended
}

// Restart takes the power away and gives it back: keys that were made persistent and
// the seeds are still there, sessions are not.
func (t *TPM) Restart() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.run.off()
	for _, name := range []string{t.socket(), filepath.Join(t.dir, "control")} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return t.on()
}

func (t *TPM) socket() string { return filepath.Join(t.dir, "tpm") }

// Close ends the TPM and all that serves it. Its keys are gone.
func (t *TPM) Close() error {
	t.lists.Lock()
	t.closed = true
	for _, l := range t.listeners {
		_ = l.Close()
	}
	for c := range t.conns {
		_ = c.Close()
	}
	t.lists.Unlock()
	t.mu.Lock()
	t.run.off()
	t.mu.Unlock()
	t.serving.Wait()
	return os.RemoveAll(t.dir)
}

// Command sends a command as it is and returns the response. Connections are made
// anew for each: swtpm serves one at a time, and what the TPM holds outlives them.
func (t *TPM) Command(command []byte) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.command(command)
}

func (t *TPM) command(command []byte) ([]byte, error) {
	c, err := net.Dial("unix", t.socket())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(commandTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.Write(command); err != nil {
		return nil, fmt.Errorf("send a command to the TPM: %w", err)
	}
	head := make([]byte, headerBytes)
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, fmt.Errorf("read a response of the TPM: %w", err)
	}
	size := binary.BigEndian.Uint32(head[2:])
	if size < headerBytes || size > maxMessage {
		return nil, fmt.Errorf("the TPM answers with %d bytes", size)
	}
	response := append(head, make([]byte, size-headerBytes)...)
	if _, err := io.ReadFull(c, response[headerBytes:]); err != nil {
		return nil, fmt.Errorf("read a response of the TPM: %w", err)
	}
	return response, nil
}

// Commands of TPM 2.0 part 3, as bytes.
var (
	getRandom = []byte{0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7B, 0, 8}
	clear     = withPassword(0x126, 0x4000000A) // TPM_CC_Clear, TPM_RH_LOCKOUT
	changeEPS = withPassword(0x124, 0x4000000C) // TPM_CC_ChangeEPS, TPM_RH_PLATFORM
)

// withPassword returns a command about a hierarchy without a password.
func withPassword(code, handle uint32) []byte {
	const passwordSession = 0x40000009
	b := []byte{0x80, 0x02, 0, 0, 0, 27}
	b = binary.BigEndian.AppendUint32(b, code)
	b = binary.BigEndian.AppendUint32(b, handle)
	b = binary.BigEndian.AppendUint32(b, 9) // bytes of the authorization
	b = binary.BigEndian.AppendUint32(b, passwordSession)
	return append(b, 0, 0, 0, 0, 0) // no nonce, no attributes, no password
}

// Clear makes the TPM forget its owner: from now on it has another storage root
// key, and the endorsement key it always had.
func (t *TPM) Clear() error { return t.succeed("clear", clear) }

// Renew gives the TPM another endorsement key, as if it were another one.
func (t *TPM) Renew() error {
	if err := t.succeed("change the endorsement seed", changeEPS); err != nil {
		return err
	}
	return t.Clear()
}

func (t *TPM) succeed(what string, command []byte) error {
	r, err := t.Command(command)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if code := binary.BigEndian.Uint32(r[6:]); code != 0 {
		return fmt.Errorf("%s: the TPM answers %#x", what, code)
	}
	return nil
}
