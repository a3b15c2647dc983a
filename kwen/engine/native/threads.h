// The team of threads that runs one forward pass: all of them walk through the same phases, with a barrier between.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <immintrin.h>
#include <mutex>
#include <thread>
#include <vector>

namespace kwen {

constexpr int AWAKE = 8192;  // pauses, some 150 microseconds: what lies between two steps. Waking a sleeper takes as long as a layer

class Team {
public:
    // Run `work(thread)` on `threads` threads, the caller among them; one pass at a time, whoever calls.
    void run(int threads, const std::function<void(int)>& work) {
        std::lock_guard<std::mutex> one_at_a_time(running_);
        threads_ = threads;
        arrived_.store(0);
        if (threads > 1) {
            while (static_cast<int>(workers_.size()) < threads - 1) {
                const int number = static_cast<int>(workers_.size()) + 1;
                const int seen = round_.load();
                workers_.emplace_back([this, number, seen] { serve(number, seen); });
                workers_.back().detach();
            }
            work_ = &work;
            left_.store(static_cast<int>(workers_.size()));
            {
                std::lock_guard<std::mutex> guard(mutex_);
                round_.fetch_add(1);
            }
            wake_.notify_all();
        }
        work(0);
        for (int turns = 0; threads > 1 && left_.load() > 0; ++turns) pause(turns);
    }

    // Wait until every thread of the running pass is here.
    void barrier() {
        if (threads_ == 1) return;
        const int phase = phase_.load();
        if (arrived_.fetch_add(1) + 1 == threads_) {
            arrived_.store(0);
            phase_.fetch_add(1);
            return;
        }
        for (int turns = 0; phase_.load() == phase; ++turns) pause(turns);
    }

private:
    static void pause(int turns) {
        if (turns < 4096) _mm_pause();
        else std::this_thread::yield();  // another process needs this core: let it
    }

    void serve(int number, int seen) {
        for (;;) {
            for (int turns = 0; turns < AWAKE && round_.load() == seen; ++turns) _mm_pause();
            if (round_.load() == seen) {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return round_.load() != seen; });
            }
            ++seen;
            if (number < threads_) (*work_)(number);
            left_.fetch_sub(1);
        }
    }

    std::mutex running_, mutex_;
    std::condition_variable wake_;
    std::vector<std::thread> workers_;
    const std::function<void(int)>* work_ = nullptr;
    int threads_ = 1;
    std::atomic<int> round_{0}, left_{0}, arrived_{0}, phase_{0};
};

}  // namespace kwen
