#!/usr/bin/env node
// What `stair bench infer` measures, in ONNX Runtime: images per second of an .onnx file, the median of several timed
// runs after a warm-up, on random images that lie in memory (normalised already). Prints one JSON object, as stair does.
//
//     node bench/ort.mjs FILE.onnx [--batch N] [--threads N] [--optimized OUT.onnx]
//     node bench/ort.mjs --version
//
// npm ci --ignore-scripts --prefix bench    installs it, in the version of bench/package.json
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';
import ort from 'onnxruntime-node';

const RUNS = 7, RUN_SECONDS = 0.2, IMAGES = 1024, PIXELS = 28 * 28;

const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
        batch: { type: 'string', default: '64' },
        threads: { type: 'string', default: '1' },
        optimized: { type: 'string' }, // the graph after fusion, to be looked at
        version: { type: 'boolean' },
    },
});
if (values.version) {
    console.log(`ONNX Runtime ${createRequire(import.meta.url)('onnxruntime-node/package.json').version}`);
    process.exit();
}
const batch = Number(values.batch), threads = Number(values.threads);
const session = await ort.InferenceSession.create(positionals[0], {
    graphOptimizationLevel: 'all', executionMode: 'sequential', intraOpNumThreads: threads, interOpNumThreads: 1,
    ...(values.optimized && { optimizedModelFilePath: values.optimized }),
});

const batches = Array.from({ length: Math.max(1, Math.floor(IMAGES / batch)) }, () => {
    const pixels = Float32Array.from({ length: batch * PIXELS }, () => 4 * Math.random() - 2);
    return { [session.inputNames[0]]: new ort.Tensor('float32', pixels, [batch, 1, 28, 28]) };
});

async function seconds(count) {
    const started = performance.now();
    for (let i = 0; i < count; i++) await session.run(batches[i % batches.length]);
    return (performance.now() - started) / 1000;
}

let count = 1, taken = 0; // the warm-up finds the length
while (taken < RUN_SECONDS) taken = await seconds((count *= 2));
count = Math.max(1, Math.floor((count * RUN_SECONDS) / taken));
const runs = [];
for (let i = 0; i < RUNS; i++) runs.push((count * batch) / (await seconds(count)));
const median = [...runs].sort((a, b) => a - b)[RUNS >> 1];
console.log(JSON.stringify({ what: 'infer', batch, threads, images_per_second: median, runs }));
