// Package process runs the causeway binary as a child process, for tests that
// look at it from outside: kill it, fill its disk, hand it to foreign clients.
//
// It knows the ready file and the signals, not what the server does.
package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// Ready is what a server writes to its ready file.
type Ready struct {
	Hub                       string `json:"hub"`
	HTTPSPort                 int    `json:"httpsPort"`
	MQTTPort                  int    `json:"mqttPort"`
	AMQPPort                  int    `json:"amqpPort"`
	AdminURL                  string `json:"adminUrl"`
	OwnerConnectionString     string `json:"ownerConnectionString"`
	ServiceConnectionString   string `json:"serviceConnectionString"`
	EventHubsConnectionString string `json:"eventHubsConnectionString"`
	DeviceConnectionString    string `json:"deviceConnectionString"`
	CAFile                    string `json:"caFile"`

	DPSGlobalEndpoint          string `json:"dpsGlobalEndpoint"`
	DPSIDScope                 string `json:"dpsIdScope"`
	DPSServiceConnectionString string `json:"dpsServiceConnectionString"`
	DPSGroupKey                string `json:"dpsGroupKey"`
}

// Server is one data directory and the process that serves it, again and again.
type Server struct {
	Binary string
	Data   string    // data directory
	Args   []string  // after the command's own, e.g. listen addresses
	Env    []string  // besides the environment of the test
	Output io.Writer // of the process; discarded when nil

	mu    sync.Mutex
	cmd   *exec.Cmd
	ready Ready
	runs  int
}

// Ready returns what the running server said of itself.
func (s *Server) Ready() Ready {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// Start starts `causeway quickstart` without a sensor and returns when it
// answers.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start(ctx)
}

func (s *Server) start(ctx context.Context) error {
	if err := os.MkdirAll(s.Data, 0o700); err != nil {
		return err
	}
	s.runs++
	dir, err := os.MkdirTemp("", "causeway-ready")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "ready.json")
	args := append([]string{"quickstart", "--no-sensor", "--quiet", "--data", s.Data, "--ready-file", file}, s.Args...)
	cmd := exec.Command(s.Binary, args...)
	cmd.Stdout, cmd.Stderr = s.Output, s.Output
	cmd.Env = append(append(os.Environ(), "GORACE=halt_on_error=1 exitcode=66"), s.Env...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.Binary, err)
	}
	for {
		b, err := os.ReadFile(file)
		if err == nil {
			s.ready = Ready{}
			if err := json.Unmarshal(b, &s.ready); err != nil {
				return errors.Join(fmt.Errorf("ready file: %w", err), cmd.Process.Kill(), cmd.Wait())
			}
			s.cmd = cmd
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the server did not become ready: %w", ctx.Err()), cmd.Process.Kill(), cmd.Wait())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Kill ends the process as a power cut would, with SIGKILL.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kill()
}

func (s *Server) kill() error {
	if s.cmd == nil {
		return nil
	}
	err := s.cmd.Process.Kill()
	_ = s.cmd.Wait() // its status only says that it was killed
	s.cmd = nil
	return err
}

// Restart kills the process and starts it again on the same data.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.kill(); err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	return s.start(ctx)
}

// RestartInOrder interrupts the process, as Stop does, and starts it again on the
// same data once it has ended.
func (s *Server) RestartInOrder(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stop(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return s.start(ctx)
}

// Stop interrupts the process as a user would and returns how it ended. It is
// an error when it does not end within 30 seconds.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stop()
}

func (s *Server) stop() error {
	if s.cmd == nil {
		return nil
	}
	cmd := s.cmd
	s.cmd = nil
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		return fmt.Errorf("interrupt: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("the server did not end within 30 s of an interrupt"), cmd.Process.Kill(), <-done)
	}
}
