// Runs an ONNX file in ONNX Runtime and compares it with what onnx_values wrote to FOLDER.
//
//     node onnx_run.mjs FILE.onnx FOLDER [--mode plain|exact] [--logits TOLERANCE] [--predictions N]
//     node onnx_run.mjs FOLDER/cut.onnx|FOLDER/whole.onnx FOLDER [--mode plain|exact] --share PER_10000 [--by CODES] [...]
//
//   plain   no graph optimisation: QuantizeLinear and DequantizeLinear as floats
//   exact   the default optimisation, with integer products that do not saturate at 16 bits
//
// The first compares results. The second compares the codes of every value, too, on a graph that onnx_check.py made:
// cut, each value is computed from the program's own codes, and none may differ by more than 1; whole, a code that
// differs moves those behind it. Prints what it found, with --layers value by value; exits with 1 where it is more than
// the limits.
import { openSync, readFileSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

const ort = createRequire(new URL('../../bench/package.json', import.meta.url))('onnxruntime-node');
const { values: options, positionals: [file, folder] } = parseArgs({
    allowPositionals: true,
    options: {
        layers: { type: 'boolean' },
        ...Object.fromEntries(['mode', 'logits', 'share', 'by', 'predictions'].map((name) => [name, { type: 'string' }])),
    },
});
const BATCH = 100;
const floats = (name) => {
    const bytes = readFileSync(`${folder}/${name}.f32`);
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
};
const input = floats('input'), output = floats('output');
const session = await ort.InferenceSession.create(file, {
    graphOptimizationLevel: options.mode === 'plain' ? 'disabled' : 'all',
    intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3,
    ...(options.mode === 'exact' && { extra: { session: { x64quantprecision: '1' } } }),
});
const sample = session.inputMetadata[0].shape.slice(1);
const size = sample.reduce((a, b) => a * b, 1), images = input.length / size, classes = output.length / images;

const arrays = { uint8: Uint8Array, int8: Int8Array };
const read = (line) => {
    const [name, output, given, type, shape] = line.split(' ');
    const sizes = shape.split(',').map(Number), length = sizes.reduce((a, b) => a * b, 1);
    const lowest = type === 'int8' ? -128 : 0, codes = openSync(`${folder}/${name}.u8`);
    const part = (first, count) => { // of the images: a file of all may be large
        const bytes = new Uint8Array(count * length);
        readSync(codes, bytes, 0, bytes.length, first * length);
        return lowest ? arrays[type].from(bytes, (u) => u + lowest) : bytes;
    };
    return { name, output, given, type, sizes, part, codes: 0, differ: 0, by: 0 };
};
const cuts = options.share === undefined ? []
    : readFileSync(`${folder}/cut.txt`, 'utf8').trim().split('\n').map(read);
const argmax = (x, at) => {
    let best = 0;
    for (let c = 1; c < classes; c++) if (x[at + c] > x[at + best]) best = c;
    return best;
};

const cut = cuts.some(({ given }) => session.inputNames.includes(given));
const found = { images, logits: 0, predictions: 0, codes: 0, differ: 0, by: 0 };
function compareResults(y, first, count) {
    for (let i = 0; i < count * classes; i++)
        found.logits = Math.max(found.logits, Math.abs(y[i] - output[first * classes + i]));
    for (let i = 0; i < count; i++)
        if (argmax(y, i * classes) !== argmax(output, (first + i) * classes)) found.predictions++;
}
function compareCodes(value, codes, made) {
    for (let i = 0; i < made.length; i++) {
        const difference = Math.abs(made[i] - codes[i]);
        if (difference) value.differ++;
        if (difference > value.by) value.by = difference;
    }
    value.codes += made.length;
}
for (let first = 0; first < images; first += BATCH) {
    const count = Math.min(BATCH, images - first), end = first + count;
    const feeds = {
        [session.inputNames[0]]: new ort.Tensor('float32', input.subarray(first * size, end * size), [count, ...sample]),
    };
    const codes = cuts.map((value) => value.part(first, count));
    if (cut) cuts.forEach(({ given, type, sizes }, k) => {
        feeds[given] = new ort.Tensor(type, codes[k], [count, ...sizes]);
    });
    const results = await session.run(feeds);
    compareResults(results[session.outputNames[0]].data, first, count);
    cuts.forEach((value, k) => compareCodes(value, codes[k], results[value.output].data));
}
for (const { name, codes, differ, by } of cuts) {
    if (options.layers) console.log(`${name}: ${differ} of ${codes} differ, by at most ${by}`);
    found.codes += codes;
    found.differ += differ;
    found.by = Math.max(found.by, by);
}
const share = found.codes ? (1e4 * found.differ) / found.codes : 0;
console.log(JSON.stringify({ file, mode: options.mode, ...found, per_10000: Number(share.toPrecision(3)) }));
const within = (value, limit) => limit === undefined || value <= Number(limit);
process.exit(images > 0 && within(found.by, cut ? 1 : options.by) && within(found.logits, options.logits) && within(share, options.share) &&
    within(found.predictions, options.predictions) && found.codes > 0 === cuts.length > 0 ? 0 : 1);
