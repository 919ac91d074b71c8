package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

//go:embed clients/python clients/node clients/java
var clientFiles embed.FS

// client is a family that can be run here.
type client struct {
	*family
	program
}

// clients makes the programs of all families, once, and prints their versions. A family that cannot be had here, because a
// package registry is out of reach, is said to be not run.
func (s *suite) clients(ctx context.Context) ([]client, error) {
	if s.ready != nil {
		return s.ready, nil
	}
	for _, f := range families {
		if !s.wants(f.name) {
			continue
		}
		p, err := f.make(s, ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, errNotHere) {
			s.missing(f.name, err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		versions, err := p.versions(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		fmt.Printf("    client %s\n", strings.Join(versions, ", "))
		s.ready = append(s.ready, client{f, p})
	}
	if len(s.ready) == 0 {
		return nil, errors.New("no client program can be run")
	}
	return s.ready, nil
}

// errNotHere: what a client needs cannot be had on this machine.
var errNotHere = errors.New("not to be had on this machine")

func notHere(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errNotHere, err)
}

func (s *suite) missing(name string, err error) {
	fmt.Printf("--- NOT RUN: %s: %v\n", name, err)
	s.notRun = append(s.notRun, name)
}

// goProgram is built anew each time: the compiler keeps its own cache.
func goProgram(name string) func(*suite, context.Context) (program, error) {
	return func(s *suite, ctx context.Context) (program, error) {
		binary := filepath.Join(s.dir, "goclients")
		_, err := command(ctx, nil, "go", "build", "-o", binary, "github.com/tandembroker/tandem/bench/interop/clients/goclients")
		return contractProgram{[]string{binary, name}}, err
	}
}

func pythonProgram(name string) func(*suite, context.Context) (program, error) {
	return func(s *suite, ctx context.Context) (program, error) {
		python, err := exec.LookPath("python3")
		if err != nil {
			return nil, notHere(err)
		}
		version, err := command(ctx, nil, python, "--version")
		if err != nil {
			return nil, err
		}
		dir, err := s.installed("python", version, func(dir string) error {
			if _, err := command(ctx, nil, python, "-m", "venv", dir); err != nil {
				return err
			}
			_, err := command(ctx, nil, filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-deps",
				"--timeout", "30", "--retries", "1", "--only-binary", ":all:", "--requirement", filepath.Join(dir, "requirements.txt"))
			return notHere(err)
		})
		return contractProgram{[]string{filepath.Join(dir, "bin", "python"), filepath.Join(dir, "clients.py"), name}}, err
	}
}

func (s *suite) nodeProgram(ctx context.Context) (program, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, notHere(err)
	}
	version, err := command(ctx, nil, node, "--version")
	if err != nil {
		return nil, err
	}
	dir, err := s.installed("node", version, func(dir string) error {
		_, err := command(ctx, nil, "npm", "ci", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund",
			"--fetch-timeout=30000", "--fetch-retries=1")
		return notHere(err)
	})
	return contractProgram{[]string{node, filepath.Join(dir, "client.js"), "kafkajs"}}, err
}

func (s *suite) javaProgram(ctx context.Context) (program, error) {
	dir, err := s.javaClasses(ctx)
	if err != nil {
		return nil, err
	}
	return contractProgram{append(s.javaCommand(dir, "Client"), "java")}, nil
}

// javaClasses is the folder of what clients/java compiles to.
func (s *suite) javaClasses(ctx context.Context) (string, error) {
	if _, err := exec.LookPath("javac"); err != nil {
		return "", notHere(err)
	}
	if err := s.resolveJava(ctx); err != nil {
		return "", notHere(err)
	}
	dir, err := s.installed("java", s.java.kafka+s.java.version, func(dir string) error {
		_, err := command(ctx, nil, "javac", "-d", dir, "-cp", s.java.classPath,
			filepath.Join(dir, "Client.java"), filepath.Join(dir, "WordCount.java"), filepath.Join(dir, "Counting.java"))
		return err
	})
	return dir, err
}

// installed returns what install has made of clients/NAME, and remembers that it could not: a registry that is out of reach lets
// one wait.
func (s *suite) installed(name, version string, install func(dir string) error) (string, error) {
	if err := s.unavailable[name]; err != nil {
		return "", err
	}
	dir, err := installedOnce(name, version, install)
	if err != nil {
		if s.unavailable == nil {
			s.unavailable = map[string]error{}
		}
		s.unavailable[name] = err
	}
	return dir, err
}

// installedOnce returns the folder below the user's cache that holds the files of clients/NAME and what install has added to
// them. It is made once for each content of these files and each version of the language.
func installedOnce(name, version string, install func(dir string) error) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	from := path.Join("clients", name)
	files, err := fs.ReadDir(clientFiles, from)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, version)
	texts := map[string][]byte{}
	for _, file := range files {
		if texts[file.Name()], err = clientFiles.ReadFile(path.Join(from, file.Name())); err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", file.Name(), len(texts[file.Name()]), texts[file.Name()])
	}
	dir := filepath.Join(cache, "tandem-interop", fmt.Sprintf("%s-%.8x", name, sum.Sum(nil)))
	done := filepath.Join(dir, "installed")
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return "", err
	}
	for file, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
			return "", err
		}
	}
	if err := install(dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(done, nil, 0o644)
}
